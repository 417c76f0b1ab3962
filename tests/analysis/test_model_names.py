"""One name for several checkpoints never makes one model of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medbench.analysis import Runs, compare, leaderboard, load_runs
from medbench.errors import AnalysisError
from tests.analysis.factory import FakeTask, write_run

PLAIN = "20260101-000000-a"


def _fingerprint(weights: str, **parts: str) -> dict[str, Any]:
    return {"model": f"{weights}{parts}" * 2, "layout": "merged", "weights": weights, "config": "c", **parts}


def _load(tmp_path: Path, *manifests: dict[str, Any], model: str = "checkpoint-500") -> Runs:
    for number, manifest in enumerate(manifests):
        tasks = [FakeTask("t", skill=0.9 - 0.4 * number)]
        write_run(tmp_path, model, tasks, run=f"2026010{number + 1}-000000-a", manifest=manifest, seed=number)
    return load_runs(tmp_path)


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (("x/a/checkpoint-500", "x/b/checkpoint-500"), ["a/checkpoint-500", "b/checkpoint-500"]),
        (("a/checkpoint-500", "b/checkpoint-500"), ["a/checkpoint-500", "b/checkpoint-500"]),
        (("a/run/checkpoint-500", "b/run/checkpoint-500"), ["a/run/checkpoint-500", "b/run/checkpoint-500"]),
        (("x\\a\\checkpoint-500", "x\\b\\checkpoint-500"), ["a/checkpoint-500", "b/checkpoint-500"]),
        (("a/final", "b/final"), ["checkpoint-500 (a/final)", "checkpoint-500 (b/final)"]),
        (
            ("x/a/checkpoint-500", "x/a/checkpoint-500"),
            ["checkpoint-500 (one{}one)", "checkpoint-500 (two{}two)"],
        ),
        (("a/checkpoint-500", None), ["checkpoint-500 (one{}one)", "checkpoint-500 (two{}two)"]),
        ((None, None), ["checkpoint-500 (one{}one)", "checkpoint-500 (two{}two)"]),
        (("", "b/checkpoint-500"), ["checkpoint-500 (one{}one)", "checkpoint-500 (two{}two)"]),
        ((7, ["b"]), ["checkpoint-500 (one{}one)", "checkpoint-500 (two{}two)"]),
    ],
)
def test_checkpoints_of_one_name_are_told_apart(
    tmp_path: Path, folders: tuple[Any, Any], names: list[str]
) -> None:
    loaded = _load(
        tmp_path,
        {"fingerprint": _fingerprint("one"), "checkpoint": folders[0]},
        {"fingerprint": _fingerprint("two"), "checkpoint": folders[1]},
    )
    # Fingerprints are cut to what is enough.
    names = [name if "{" not in name else f"{name[:16]}{name[16:24]})" for name in names]
    assert loaded.models == names
    said = [problem.what for problem in loaded.problems]
    assert all(any(repr(name) in text and "2 different models" in text for text in said) for name in names)
    ranking = leaderboard(loaded, draws=50).ranking.set_index("model")["value"]
    assert set(ranking.index) == set(names)
    assert ranking[names[0]] > ranking[names[1]]
    assert list(compare(loaded, names[0], draws=50)["model"]) == [names[1]]
    with pytest.raises(AnalysisError, match="checkpoint-500"):
        compare(loaded, "nothing-like-it")


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"fingerprint": "one"}, {"fingerprint": "two"}),
        ({"fingerprint": {"model": "one"}}, {"fingerprint": {"model": "two"}}),
        ({"fingerprint": _fingerprint("w")}, {"fingerprint": _fingerprint("w", tokenizer="other")}),
        ({"fingerprint": _fingerprint("w")}, {"fingerprint": _fingerprint("w", config="other")}),
        ({"fingerprint": _fingerprint("w")}, {"fingerprint": _fingerprint("w", chat_template="other")}),
        ({"fingerprint": {"model": "m", "weights": "a"}}, {"fingerprint": {"model": "m", "weights": "b"}}),
        ({"fingerprint": "1234567890"}, {"fingerprint": "1234567899"}),
        ({"fingerprint": "one"}, {"fingerprint": None}),
    ],
)
def test_whatever_differs_in_the_model_tells_it_apart(
    tmp_path: Path, one: dict[str, Any], two: dict[str, Any]
) -> None:
    assert len(_load(tmp_path, one, two).models) == 2


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (
            {"fingerprint": _fingerprint("w"), "checkpoint": "a/m"},
            {"fingerprint": _fingerprint("w"), "checkpoint": "b/m"},
        ),
        (
            {"fingerprint": _fingerprint("w") | {"files": {"a": 1}, "model": "x"}},
            {"fingerprint": _fingerprint("w") | {"files": {"b": 2}, "model": "y"}},
        ),
        ({"fingerprint": "w"}, {"fingerprint": "w"}),
        ({"fingerprint": None}, {"fingerprint": {}}),
    ],
)
def test_the_same_weights_are_one_model(tmp_path: Path, one: dict[str, Any], two: dict[str, Any]) -> None:
    loaded = _load(tmp_path, one, two, model="m")
    assert loaded.models == ["m"]
    assert loaded.problems == ()


def test_the_same_weights_under_two_names_stay_two(tmp_path: Path) -> None:
    for name in ("mine", "yours"):
        write_run(tmp_path, name, [FakeTask("t")], manifest={"fingerprint": "w"})
    assert load_runs(tmp_path).models == ["mine", "yours"]


def test_new_names_do_not_meet_others(tmp_path: Path) -> None:
    for number, weights in enumerate(("one", "two")):
        manifest = {"fingerprint": weights, "checkpoint": f"{'ab'[number]}/m"}
        write_run(tmp_path, "m", [FakeTask("t")], run=f"run{number}", manifest=manifest)
    write_run(tmp_path, "a/m", [FakeTask("t")], manifest={"fingerprint": "three"})
    models = load_runs(tmp_path).models
    assert len(models) == 3
    assert "a/m" in models


def test_a_results_file_without_a_fingerprint_is_no_run_of_a_known_model(tmp_path: Path) -> None:
    write_run(tmp_path, "m", [FakeTask("t")], manifest={"fingerprint": "0123456789abcdef"})
    content = {"results": {"t": {"acc,none": 0.5}}, "model_name": "m"}
    (tmp_path / "results_2026.json").write_text(json.dumps(content), encoding="utf-8")
    assert load_runs(tmp_path).models == ["m (01234567)", "m (weights unknown)"]
