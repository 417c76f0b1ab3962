"""The levels at which routing is recorded tell the same, whole or resumed; damage costs no score."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from medbench.analysis import Runs, load_runs
from medbench.analysis.routing.by_kind import regroup, specialization, task_groups
from medbench.analysis.routing.summary import coactivation, expert_load, router_summary, task_similarity
from medbench.api import evaluate_with_outcome
from medbench.models.harness.answers import Answer
from medbench.models.routing.counts import RoutingCounts
from medbench.runs.store import ResponseStore

TASKS = ["ceval_medical_basic_medicine", "cmb_exam", "pubmedqa", "promptcblue_cmeee_v2"]
LEVELS = ("tasks", "documents", "tokens")

FIGURES: dict[str, Callable[[Runs], pd.DataFrame]] = {
    "kinds": lambda runs: specialization(
        regroup(runs.routing(), task_groups(runs)), across_routers=True, draws=5
    ),
    "kinds, each router": lambda runs: specialization(regroup(runs.routing(), task_groups(runs)), draws=5),
    "languages": lambda runs: specialization(
        regroup(runs.routing(), task_groups(runs, ["language"])), draws=5
    ),
    "loads": lambda runs: expert_load(runs.routing()),
    "loads of tasks": lambda runs: expert_load(runs.routing(), ["task"]),
    "summary": lambda runs: router_summary(runs.routing(), draws=5),
    "summary of phases": lambda runs: router_summary(runs.routing(), ["phase"], draws=5),
    "summary of kinds": lambda runs: router_summary(
        regroup(runs.routing(), task_groups(runs)), ["task"], draws=5
    ),
    "similarity": lambda runs: task_similarity(runs.routing(), draws=5),
    "similarity of kinds": lambda runs: task_similarity(regroup(runs.routing(), task_groups(runs)), draws=5),
    "pairs": lambda runs: coactivation(runs.routing(), ["layer", "projection"]),
}
# Only single documents tell these, and every run has a name of its own.
_OF_DOCUMENTS = ["low", "high", "documents", "split_half", "run"]


def evaluate(results: Path, level: str, **options: Any) -> Path:
    return evaluate_with_outcome(
        model="demo",
        tasks=TASKS,
        results=results,
        routing=level,
        report=False,
        quiet=True,
        limit=3,
        max_batch_tokens=600,
        **options,
    ).directory


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Runs]:
    results = tmp_path_factory.mktemp("results")
    return {level: load_runs(evaluate(results, level)) for level in LEVELS}


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Runs]:
    return {level: load_runs(_interrupted(tmp_path_factory.mktemp(level), level)) for level in LEVELS}


def _interrupted(results: Path, level: str) -> Path:
    put, left = ResponseStore.put, 2

    def breaking(self: ResponseStore, answers: Mapping[str, Answer], *what: Any) -> None:
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        put(self, answers, *what)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ResponseStore, "put", breaking)
        with pytest.raises(KeyboardInterrupt):
            evaluate(results, level)
    return evaluate(results, level)


def _same(one: pd.DataFrame, two: pd.DataFrame) -> None:
    first, second = (frame.drop(columns=_OF_DOCUMENTS, errors="ignore") for frame in (one, two))
    assert len(first)
    pd.testing.assert_frame_equal(first, second, check_categorical=False, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("level", LEVELS[1:])
@pytest.mark.parametrize("figure", FIGURES)
def test_every_level_tells_the_same(runs: dict[str, Runs], figure: str, level: str) -> None:
    _same(FIGURES[figure](runs["tasks"]), FIGURES[figure](runs[level]))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("figure", FIGURES)
def test_a_resumed_run_tells_the_same(
    runs: dict[str, Runs], resumed: dict[str, Runs], figure: str, level: str
) -> None:
    _same(FIGURES[figure](runs["tasks"]), FIGURES[figure](resumed[level]))


@pytest.mark.parametrize("level", LEVELS)
def test_kinds_are_sums_of_what_was_recorded(runs: dict[str, Runs], level: str) -> None:
    frame = pd.read_parquet(next(iter(runs[level])).path / "routing.parquet")
    kinds = task_groups(runs[level])
    assert len(set(kinds.values())) < len(kinds)
    frame["kind"] = frame["task"].astype(str).map(kinds)
    sums = frame.groupby(["kind", "layer", "projection", "expert"], observed=True)[["count", "tokens"]].sum()
    by_hand = (sums["count"] / sums["tokens"]).groupby(["kind", "expert"]).mean()
    found = FIGURES["kinds"](runs[level]).set_index(["task", "expert"])["rate"]
    assert found.to_dict() == pytest.approx(by_hand.to_dict())
    assert found.groupby("task").sum().tolist() == pytest.approx([2.0] * len(set(kinds.values())))


def _damage(counts: RoutingCounts) -> RoutingCounts:
    return replace(counts, tokens=counts.tokens + 1)


def test_counts_that_cannot_be_right_cost_no_score(tmp_path: Path) -> None:
    """Stored with a fitting checksum, as a fault of the recorder would be."""
    asked: dict[str, Any] = {
        "model": "demo",
        "tasks": TASKS[:1],
        "results": tmp_path,
        "limit": 2,
        "quiet": True,
    }
    first = evaluate_with_outcome(**asked, report=False)
    store = first.directory / "responses.sqlite"
    with sqlite3.connect(store) as connection:
        ((batch, blob),) = connection.execute("SELECT batch, counts FROM routing LIMIT 1").fetchall()
        spoiled = _damage(RoutingCounts.from_bytes(blob)).to_bytes()
        change = "UPDATE routing SET counts = ?, checksum = ? WHERE batch = ?"
        connection.execute(change, (spoiled, zlib.crc32(spoiled), batch))
    connection.close()
    manifest = first.directory / "run.json"
    manifest.write_text(manifest.read_text("utf-8").replace('"complete"', '"interrupted"'), encoding="utf-8")
    again = evaluate_with_outcome(**asked, report=True)
    assert again.directory == first.directory
    assert not (again.directory / "routing.parquet").exists()
    assert any("routing is left out: router counts do not add up" in text for text in again.warnings)
    pd.testing.assert_frame_equal(again.runs.scores(), first.runs.scores())
    assert again.report is not None
