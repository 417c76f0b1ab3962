"""One name for one model: told apart by parent folders, then by weights, never because of a path alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medbench.catalog.models import ModelDefinition
from medbench.errors import RunError
from medbench.runs.naming import check_names, checkpoint_place, name_plans
from medbench.runs.plan import RunPlan
from medbench.runs.protocol import Protocol
from medbench.runs.settings import RunSettings


def plan(path: str, weights: str, name: str | None = None, config: str = "c") -> RunPlan:
    """A plan for a model of some weights at some place, called as its folder is."""
    return RunPlan(
        model=ModelDefinition(model=name or Path(path).name, path=path),
        protocol=Protocol(True, ""),
        fingerprint={"model": f"{weights}/{config}", "weights": weights, "config": config},
        tasks=(),
        groups=(),
        folders=(),
        sources={},
        settings=RunSettings(),
        failures={},
    )


def leave(results: Path, plans: list[RunPlan], *, old: bool = False) -> None:
    """Leave run folders behind, as an evaluation of the plans would."""
    for each in plans:
        folder = results / each.model.model / f"20260101-000000-{each.fingerprint['model'].replace('/', '')}"
        folder.mkdir(parents=True, exist_ok=True)
        manifest = {"model": each.model.model, "fingerprint": each.fingerprint}
        if not old:
            manifest["checkpoint"] = checkpoint_place(each.model.path)
        (folder / "run.json").write_text(json.dumps(manifest), encoding="utf-8")


def names(results: Path, *plans: RunPlan) -> list[str]:
    """Names that a command gives; it leaves its runs, and the same command again gives the same names."""
    renamed, _ = name_plans(plans, results)
    leave(results, renamed)
    again, _ = name_plans(plans, results)
    found = [each.model.model for each in renamed]
    assert [each.model.model for each in again] == found
    return found


A, B = plan("/x/a/checkpoint-500", "1"), plan("/x/b/checkpoint-500", "2")


@pytest.mark.parametrize("last", ["checkpoint-500", "final", "adapter-moe", "model", "epoch 3", "模型"])
def test_equal_folder_names_are_told_apart_by_their_parents(last: str, tmp_path: Path) -> None:
    found = names(tmp_path, plan(f"/x/a/{last}", "1"), plan(f"/x/b/{last}", "2"))
    assert found == [f"a.{last}", f"b.{last}"]


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        # place, weights -> name
        ((("/x/a/m", "1"),), ["m"]),
        ((("/x/a/m", "1"), ("/x/b/n", "2")), ["m", "n"]),
        ((("/x/a/m", "1"), ("/y/a/m", "2")), ["x.a.m", "y.a.m"]),
        ((("/x/a/m", "1"), ("/y/a/m", "2"), ("/x/b/m", "3")), ["x.a.m", "y.a.m", "b.m"]),
        ((("/x/a/m", "1"), ("/x/b/m", "1")), ["m", "m"]),  # the same weights are the same model
        ((("/x/a/m", "1"), ("/x/b/m", "2"), ("/x/c/m", "1")), ["a.m", "b.m", "a.m"]),
        ((("/x/a/m", "1"), ("/x/a/m", "1")), ["m", "m"]),
        ((("lab/m", "1"), ("other-lab/m", "2")), ["lab.m", "other-lab.m"]),
        ((("lab/m", "1"), ("/x/a/m", "2")), ["lab.m", "a.m"]),
        ((("/m", "1"), ("/x/m", "2")), None),
        ((("/1/2/3/m", "1"), ("/0/2/3/m", "2")), None),  # only further up than a run tells
        ((("/x/a/b.m", "1"), ("/x/b/m", "2"), ("/x/c/m", "3")), ["b.m", "x.b.m", "c.m"]),
    ],
)
def test_names_in_one_command(
    places: tuple[tuple[str, str], ...], expected: list[str] | None, tmp_path: Path
) -> None:
    found = names(tmp_path, *(plan(path, weights) for path, weights in places))
    if expected is None:
        assert len(set(found)) == len(places)
        assert all("." in name for name in found[1:])
    else:
        assert found == expected


def test_a_name_that_other_weights_have_is_not_taken_again(tmp_path: Path) -> None:
    assert names(tmp_path, A) == ["checkpoint-500"]
    assert names(tmp_path, B) == ["b.checkpoint-500"]
    assert names(tmp_path, A) == ["checkpoint-500"]
    assert names(tmp_path, plan("/y/b/checkpoint-500", "3")) == ["y.b.checkpoint-500"]
    # The same weights elsewhere are the model that has been evaluated already.
    assert names(tmp_path, plan("/somewhere/else/checkpoint-500", "1")) == ["checkpoint-500"]
    assert names(tmp_path, A, B) == ["checkpoint-500", "b.checkpoint-500"]


def test_a_model_keeps_the_name_that_its_runs_have(tmp_path: Path) -> None:
    assert names(tmp_path, A, B) == ["a.checkpoint-500", "b.checkpoint-500"]
    assert names(tmp_path, A) == ["a.checkpoint-500"]


def test_trained_on_in_the_same_folder_it_is_another_model(tmp_path: Path) -> None:
    assert names(tmp_path, plan("/x/out/final", "1")) == ["final"]
    [later] = names(tmp_path, plan("/x/out/final", "2"))
    [latest] = names(tmp_path, plan("/x/out/final", "3"))
    assert len({"final", later, latest}) == 3
    # Its folder is that of both, and says nothing.
    assert later.startswith("final.")
    assert latest.startswith("final.")
    assert names(tmp_path, plan("/x/out/final", "2")) == [later]


def test_another_configuration_of_the_same_weights_is_another_model(tmp_path: Path) -> None:
    top_2, top_4 = plan("/x/a/m", "1", config="top 2"), plan("/x/b/m", "1", config="top 4")
    assert names(tmp_path, top_2, top_4) == ["a.m", "b.m"]
    one, two = plan("/x/a/m", "1", "mine", config="top 2"), plan("/x/b/m", "1", "mine", config="top 4")
    first, second = names(tmp_path, one, two)
    assert first != second


def test_names_of_definitions_are_told_apart_by_weights(tmp_path: Path) -> None:
    one, two = names(tmp_path, plan("/x/a/v1", "1", "mine"), plan("/x/b/v2", "2", "mine"))
    assert one != two
    assert one.startswith("mine.")
    assert two.startswith("mine.")


def test_runs_of_earlier_versions_are_known_by_their_weights(tmp_path: Path) -> None:
    leave(tmp_path, [A], old=True)
    assert names(tmp_path, A) == ["checkpoint-500"]
    assert names(tmp_path, B) == ["b.checkpoint-500"]


def test_where_one_folder_holds_two_models_neither_goes_on_in_it(tmp_path: Path) -> None:
    leave(tmp_path, [A, B], old=True)
    assert names(tmp_path, A) == ["a.checkpoint-500"]
    assert names(tmp_path, B) == ["b.checkpoint-500"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"fingerprint": 3}', '{"fingerprint": {"weights": "1"'])
def test_a_damaged_manifest_takes_no_name(text: str, tmp_path: Path) -> None:
    leave(tmp_path, [A])
    next(tmp_path.rglob("run.json")).write_text(text, encoding="utf-8")
    assert name_plans([B], tmp_path)[0][0].model.model == "checkpoint-500"


def test_what_is_not_plain_is_said(tmp_path: Path) -> None:
    assert name_plans([A], tmp_path)[1] == []
    _, notes = name_plans([A, B], tmp_path)
    assert len(notes) == 2
    assert "x/a/checkpoint-500" in notes[0]
    assert "a.checkpoint-500" in notes[0]
    leave(tmp_path, [A])
    _, [note] = name_plans([B], tmp_path)
    assert "b.checkpoint-500" in note


def test_names_that_are_given_stand(tmp_path: Path) -> None:
    renamed, notes = name_plans([A, B], tmp_path, ["first", "second"])
    assert [each.model.model for each in renamed] == ["first", "second"]
    assert not notes
    leave(tmp_path, renamed)
    [again], notes = name_plans([B], tmp_path, ["first"])
    assert again.model.model == "first"
    assert len(notes) == 1
    with pytest.raises(RunError, match="two models cannot both be called"):
        name_plans([A, B], tmp_path, ["same", "same"])
    assert [each.model.model for each in name_plans([A, A], tmp_path, ["same", "same"])[0]] == ["same"] * 2


@pytest.mark.parametrize("name", ["v1", "run 7", "MING-MOE 1.8B (mine)", "模型", "a.b_c+d", "…", "x" * 120])
def test_names_that_can_be_given(name: str) -> None:
    check_names([name], 1)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        ".",
        "..",
        "a/b",
        "/a",
        "..\\a",
        "a\nb",
        "a\x00",
        "\x1b[2J",
        "a\u202eb",
        "\ud800",
        " a",
        "a ",
        "x" * 121,
    ],
)
def test_names_that_cannot_be_given(name: str) -> None:
    with pytest.raises(RunError, match="the model's name"):
        check_names([name], 1)


@pytest.mark.parametrize(("given", "models"), [(1, 2), (2, 1), (3, 2)])
def test_a_name_for_each_model_or_none(given: int, models: int) -> None:
    with pytest.raises(RunError, match=f"{given} names for {models} models"):
        check_names(["a"] * given, models)
    check_names([], models)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/x/y/z/checkpoint-500", "y/z/checkpoint-500"),
        ("/checkpoint", "checkpoint"),
        ("HOME/mine", "mine"),
        ("HOME/a/b/c/d", "b/c/d"),
        ("HOME", ""),
        ("owner/name", "owner/name"),
        ("HOME/.cache/hub/models--owner--name--x/snapshots/12ab", "owner/name--x"),
    ],
)
def test_a_place_tells_the_checkpoint_and_not_the_person(
    path: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "someone"))
    assert checkpoint_place(path.replace("HOME", str(tmp_path / "someone"))) == place


def test_a_place_does_not_depend_on_how_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "a" / "m").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a" / "m")
    ways = [tmp_path / "a" / "m", tmp_path / "link", tmp_path / "a" / ".." / "a" / "m"]
    assert {checkpoint_place(str(way)) for way in ways} == {f"{tmp_path.name}/a/m"}
