"""Damaged checkpoints and mutated definitions: a clear error or a right result, every time."""

from __future__ import annotations

from pathlib import Path

from benchmarks.faults.checkpoints import damaged_checkpoints
from benchmarks.faults.definitions import mutated_definitions


def test_damaged_checkpoints(tmp_path: Path) -> None:
    outcomes = damaged_checkpoints(tmp_path, 24, seed=7)
    assert [outcome for outcome in outcomes if not outcome.survived] == []
    assert sum(outcome.kind == "refused" for outcome in outcomes) > 8


def test_mutated_definitions(tmp_path: Path) -> None:
    outcomes = mutated_definitions(tmp_path, 25, seed=7)
    assert [outcome for outcome in outcomes if not outcome.survived] == []
    assert sum(outcome.kind == "refused" for outcome in outcomes) > 8
