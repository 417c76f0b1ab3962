"""One broken run among others: it is named, and the others are shown, compared and ranked all the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medbench.analysis import Runs, compare, leaderboard, load_runs
from medbench.analysis.routing.by_kind import regroup, specialization, task_groups
from medbench.reports import write_report
from tests.analysis.factory import FakeTask, write_routing, write_run

TASKS = [FakeTask("one", n=30), FakeTask("two", n=30, language="zh")]
NAMES = [task.name for task in TASKS]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


def damage(path: Path) -> None:
    """Overwrite the pages of a table; its footer still reads well."""
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 2] = b"\xff" * (len(content) // 2 - 4)
    path.write_bytes(bytes(content))


def write(content: bytes) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.write_bytes(content)

    return change


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def column(name: str, values: Callable[[int], Any]) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        table = pq.read_table(path)
        index = table.schema.get_field_index(name)
        pq.write_table(table.set_column(index, name, pa.array(values(table.num_rows))), path)

    return change


def without(name: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        pq.write_table(pq.read_table(path).drop_columns([name]), path)

    return change


def manifest(**fields: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | fields), encoding="utf-8")

    return change


#: Name of the file, what happens to it, and whether the run's scores can still be used.
FAULTS: dict[str, tuple[str, Callable[[Path], None], bool]] = {
    "no manifest": ("run.json", write(b"{"), False),
    "manifest of a list": ("run.json", write(b"[]"), False),
    "manifest in no encoding": ("run.json", write(b"\xff\xfe{"), False),
    "settings of another kind": (
        "run.json",
        manifest(settings=3, attempts="x", failures=[]),
        True,
    ),
    "definition of another kind": ("run.json", manifest(model_definition=[], fingerprint=1, data="x"), True),
    "empty scores": ("scores.parquet", write(b""), False),
    "scores cut short": ("scores.parquet", cut, False),
    "scores without pages": ("scores.parquet", damage, False),
    "scores of texts": ("scores.parquet", column("value", lambda n: ["high"] * n), False),
    "scores without a task": ("scores.parquet", column("task", lambda n: [None] * n), False),
    "scores without metrics": ("scores.parquet", without("metric"), False),
    "no language or family": ("scores.parquet", column("language", lambda n: [None] * n), True),
    "no samples": ("samples.parquet", lambda path: path.unlink(), False),
    "samples cut short": ("samples.parquet", cut, False),
    "samples that are a folder": ("samples.parquet", become_a_folder, False),
    "samples without ids": ("samples.parquet", without("document"), False),
    "samples without pages": ("samples.parquet", damage, True),
    "routing of noise": ("routing.parquet", write(b"noise"), True),
    "routing without experts": ("routing.parquet", without("expert"), True),
    "routing of texts": ("routing.parquet", column("count", lambda n: ["many"] * n), True),
}


#: One fault of each file; the others take longer than they may with every test.
FAST = ("manifest of a list", "scores cut short", "samples without pages", "routing without experts")
EACH = [
    pytest.param(name, marks=() if name in FAST else (pytest.mark.slow, pytest.mark.ci), id=name)
    for name in FAULTS
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("sound")
    for seed, model in enumerate(("first", "second", "third")):
        write_run(
            results, model, TASKS, seed=seed, groups={"all": NAMES}, routing=write_routing(NAMES, seed=seed)
        )
    return results


@pytest.fixture
def broken(sound: Path, tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Runs, bool]:
    results = tmp_path / "results"
    shutil.copytree(sound, results)
    name, happens, usable = FAULTS[request.param]
    happens(next((results / "third").iterdir()) / name)
    return load_runs(results), usable


@pytest.mark.parametrize("broken", EACH, indirect=True)
def test_a_broken_run_breaks_no_other(broken: tuple[Runs, bool], sound: Path, tmp_path: Path) -> None:
    runs, usable = broken
    whole = load_runs(sound)
    assert ("third" in runs.models) == usable
    if not usable:
        assert any("third" in str(problem.path) for problem in runs.problems)
    page = write_report(runs, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Scores" in page
    others = [run for run in whole if run.model != "third"]
    rows = runs.scores()
    for run in others:
        mine = rows[rows["model"] == run.model].set_index(["task", "metric"])["value"].astype(float)
        theirs = whole.scores().query(f"model == {run.model!r}").set_index(["task", "metric"])["value"]
        assert mine.to_dict() == theirs.astype(float).to_dict()
    found = compare(runs, "first", tasks=NAMES)
    second = found[found["model"] == "second"].set_index("task")
    assert set(second["verdict"]) <= {"better", "worse", "undecided"}
    routed = runs.routing()
    assert {"first", "second"} <= set(routed["model"].astype(str))
    kinds = specialization(regroup(routed, task_groups(runs, ["family"])), draws=50)
    assert {"first", "second"} <= set(kinds["model"])


@pytest.mark.parametrize("broken", ["samples without pages"], indirect=True)
def test_what_cannot_be_read_is_named_on_the_page(broken: tuple[Runs, bool], tmp_path: Path) -> None:
    runs, _ = broken
    page = write_report(runs, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "left out of" in page
    assert "samples.parquet" in page or "third" in page


@pytest.mark.parametrize("broken", ["no manifest", "scores cut short", "routing of noise"], indirect=True)
def test_the_others_are_ranked(broken: tuple[Runs, bool]) -> None:
    runs, _ = broken
    ranking = leaderboard(runs, "all", draws=50).ranking
    assert {"first", "second"} <= set(ranking["model"])
