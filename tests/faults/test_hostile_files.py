"""Damaged checkpoints and mutated definitions: a clear error or a right result, every time."""

from __future__ import annotations

from pathlib import Path

from benchmarks.faults.checkpoints import damaged_checkpoints
from benchmarks.faults.definitions import mutated_definitions
from medbench.models import load_model
from tests.models.made_checkpoints import BASES, edit_json, write_merged


def test_damaged_checkpoints(tmp_path: Path) -> None:
    outcomes = damaged_checkpoints(tmp_path, 24, seed=7)
    assert [outcome for outcome in outcomes if not outcome.survived] == []
    assert sum(outcome.kind == "refused" for outcome in outcomes) > 8


def test_mutated_definitions(tmp_path: Path) -> None:
    outcomes = mutated_definitions(tmp_path, 25, seed=7)
    assert [outcome for outcome in outcomes if not outcome.survived] == []
    assert sum(outcome.kind == "refused" for outcome in outcomes) > 8


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    folder = write_merged(tmp_path / "model", BASES["qwen2"])
    canary = tmp_path / "canary"
    (folder / "evil.py").write_text(f"open({str(canary)!r}, 'w')\nclass Evil: ...\n", encoding="utf-8")
    names = ("AutoConfig", "AutoModel", "AutoModelForCausalLM")
    edit_json(folder / "config.json", auto_map=dict.fromkeys(names, "evil.Evil"))
    load_model(folder)
    assert not canary.exists()
