"""Runs made through the command line, and what their commands print."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from medbench.cli.main import main
from tests.truth.documents import Judged, judged


def said(*words: object, status: int = 0) -> str:
    """What a command prints on standard output."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        found = main([str(word) for word in words])
    assert found == status, (
        f"medbench {' '.join(map(str, words))} ended with {found}: {err.getvalue()[-2000:]}"
    )
    return out.getvalue()


def said_json(*words: object) -> Any:
    """The same of a command that prints JSON and nothing else."""
    return json.loads(said(*words, "--json"))


class Made:
    """A finished run.

    Args:
        folder: Its directory.
        printed: What ``medbench run --json`` printed.
    """

    def __init__(self, folder: Path, printed: dict[str, Any]) -> None:
        self.folder = folder
        self.printed = printed
        self.model: str = printed["model"]

    @cached_property
    def tasks(self) -> dict[str, Judged]:
        """Every task, judged from the stored answers."""
        return judged(self.folder)

    @cached_property
    def rows(self) -> dict[tuple[str, str], dict[str, Any]]:
        """The rows of scores by task and metric."""
        return {(row["task"], row["metric"]): row for row in self.printed["scores"]}

    @cached_property
    def main(self) -> dict[str, dict[str, Any]]:
        """The main rows by task or group."""
        return {row["task"]: row for row in self.printed["scores"] if row["main"]}

    @cached_property
    def scores(self) -> pd.DataFrame:
        """The stored table of scores."""
        return pd.read_parquet(self.folder / "scores.parquet")


def run(results: Path, *words: object) -> list[Made]:
    """Evaluate, and return the runs, one for each model."""
    printed = said_json("run", "--results", results, *words)
    return [Made(Path(one["run"]), one) for one in (printed if isinstance(printed, list) else [printed])]
