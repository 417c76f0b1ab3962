"""Several checkpoints with one command: evaluated, compared with the first, ranked, reported together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medbench.cli.main import main

WORDS = ["run", "-m", "demo", "-m", "demo-early", "-t", "medqa_us,pubmedqa", "--limit", "3"]


def test_two_checkpoints_are_run_compared_and_ranked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    assert main([*WORDS, "--results", str(results)]) == 0
    shown = capsys.readouterr().out
    assert "Differences from demo" in shown
    assert "Leaderboard" in shown
    page = (results / "comparison.html").read_bytes()
    assert b"demo-early" in page

    # The same command finds both runs finished, and the page is the same byte for byte.
    assert main([*WORDS, "--results", str(results)]) == 0
    assert (results / "comparison.html").read_bytes() == page
    capsys.readouterr()

    assert main([*WORDS, "--results", str(results), "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert {row["task"] for row in first["scores"]} == {row["task"] for row in second["scores"]}
    assert first["run"] != second["run"]
