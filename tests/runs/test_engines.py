"""Which engine answered is recorded as it was, wherever a run says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults.runs import write_tasks
from medbench.analysis import load_runs
from medbench.analysis.conditions import Conditions
from medbench.api import Evaluation, evaluate_with_outcome
from medbench.errors import ModelError
from medbench.models.engines import paths
from medbench.models.harness.adapter import MedbenchLM
from medbench.runs.directory import RunDirectory
from medbench.runs.engines import EngineNotes
from medbench.runs.manifest import Manifest
from medbench.runs.settings import recorded_engine

_WHY = "packed, the model does not compute what it computes by itself"
_Change = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"))


def run(results: Path, folder: Path, **options: Any) -> Evaluation:
    settings: dict[str, Any] = {"model": "demo", "limit": 2, "report": False, "quiet": True} | options
    return evaluate_with_outcome(tasks=["faults_letters"], task_folders=[folder], results=results, **settings)


def manifest_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return found


def by_reference(patch: pytest.MonkeyPatch, why: str = _WHY) -> None:
    def refuse(*_: Any) -> tuple[int, ...]:
        raise ModelError(why)

    patch.setattr(paths, "check_packed", refuse)


def untried(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(paths, "check_packed", lambda *_: (4096,))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda _: None, {"engine": "native"}),
        (by_reference, {"engine": "reference", "engine_why": _WHY}),
        (untried, {"engine": "native", "engine_untried": [4096]}),
    ],
    ids=["packed", "by itself", "packed, not tried beyond a length"],
)
def test_a_run_says_the_same_everywhere(
    tmp_path: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch, change: _Change, expected: dict[str, Any]
) -> None:
    change(monkeypatch)
    outcome = run(tmp_path, tasks)
    manifest = manifest_of(outcome.directory)
    assert {key: value for key, value in manifest["settings"].items() if "engine" in key} == expected
    assert manifest["attempts"][-1]["engines"] == [expected["engine"]]
    assert expected.items() <= manifest["model_info"].items()
    [harness] = outcome.directory.glob("**/results_*.json")
    assert expected.items() <= json.loads(harness.read_text(encoding="utf-8"))["config"].items()
    [loaded] = load_runs([outcome.directory])
    conditions = Conditions.of(loaded)
    assert conditions.engine == expected["engine"]
    assert conditions.line().endswith(f"engine {expected['engine']}")
    assert conditions.others == ()
    assert any(_WHY in text for text in outcome.warnings) == ("engine_why" in expected)
    rescored = manifest_of(run(tmp_path, tasks, rescore=True).directory)
    assert {key: value for key, value in rescored["settings"].items() if "engine" in key} == expected


@pytest.mark.parametrize("first", ["native", "reference"])
@pytest.mark.parametrize("second", ["native", "reference"])
def test_going_on_with_another_engine_is_said(
    tmp_path: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch, first: str, second: str
) -> None:
    answer = MedbenchLM.generate_until

    def stopping(self: MedbenchLM, requests: list[Any], **options: Any) -> Any:
        answer(self, requests[:1], **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MedbenchLM, "loglikelihood", _half)
        patch.setattr(MedbenchLM, "generate_until", stopping)
        if first == "reference":
            by_reference(patch)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, tasks)
    if second == "reference":
        by_reference(monkeypatch)
    outcome = run(tmp_path, tasks)
    manifest = manifest_of(outcome.directory)
    assert [attempt["engines"] for attempt in manifest["attempts"]] == [[first], [second]]
    mixed = first != second
    assert manifest["settings"]["engine"] == (f"{first} and {second}" if mixed else first)
    assert any("several engines" in text for text in outcome.warnings) == mixed
    assert any("several engines" in text for text in manifest["lasting_warnings"]) == mixed


def _half(self: MedbenchLM, requests: list[Any], **_: Any) -> Any:
    self._answers("loglikelihood", requests[:1])
    raise KeyboardInterrupt


_REFERENCE = {"engine": "reference", "engine_why": _WHY}


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        ({}, {}),
        ({"settings": None}, {}),
        ({"settings": "lost", "model_info": 3}, {}),
        ({"settings": {}}, {}),
        ({"settings": {"engine": None}}, {}),
        ({"settings": {"engine": "native"}}, {"engine": "native"}),
        ({"settings": {"engine": "native"}, "model_info": {"engine": "packed"}}, {"engine": "native"}),
        ({"settings": {"engine": "native"}, "model_info": {}}, {"engine": "native"}),
        ({"settings": {"engine": "native"}, "model_info": _REFERENCE}, _REFERENCE),
        ({"settings": _REFERENCE, "model_info": _REFERENCE}, _REFERENCE),
        ({"settings": _REFERENCE, "model_info": {}}, _REFERENCE),
        (
            {"settings": {"engine": "native and reference"}, "model_info": _REFERENCE},
            {"engine": "native and reference"},
        ),
        ({"settings": {"engine": "lm-eval hf"}}, {"engine": "lm-eval hf"}),
        (
            {"settings": {"engine": "native", "engine_untried": [4096]}},
            {"engine": "native", "engine_untried": [4096]},
        ),
    ],
)
def test_manifests_of_any_age_are_read(manifest: dict[str, Any], expected: dict[str, Any]) -> None:
    assert recorded_engine(manifest) == expected


@pytest.mark.parametrize(
    ("earlier", "answered", "infos", "expected"),
    [
        ([], False, ["native"], "native"),
        ([], False, ["native", "native"], "native"),
        ([], False, ["native", "reference"], "native and reference"),
        ([], False, ["reference", "native", "reference"], "reference and native"),
        ([["native"]], True, ["native"], "native"),
        ([["native"]], True, ["reference"], "native and reference"),
        ([["native"]], False, ["reference"], "reference"),
        ([["native"], ["reference"]], True, ["reference"], "native and reference"),
        ([["native"], ["reference"]], False, ["native"], "native"),
        ([["native", "reference"]], True, ["native"], "native and reference"),
        ([[], ["reference"]], True, ["reference"], "reference"),
        ([["native"]], True, [None], None),
    ],
)
def test_engines_add_up_over_attempts_and_workers(
    tmp_path: Path,
    earlier: list[list[str]],
    answered: bool,
    infos: list[str | None],
    expected: str | None,
) -> None:
    manifest = Manifest(
        RunDirectory(tmp_path),
        {
            "settings": {"engine": None, "seed": 1},
            "warnings": [],
            "attempts": [*({"engines": names} for names in earlier), {}],
        },
    )
    note = EngineNotes(manifest, answered=answered)
    for name in infos:
        note({} if name is None else {"engine": name})
    if expected is not None:
        assert manifest_of(tmp_path)["settings"] == {"engine": expected, "seed": 1}
    assert manifest.fields["settings"] == {"engine": expected, "seed": 1}
