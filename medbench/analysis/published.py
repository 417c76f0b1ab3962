"""Scores that someone else reported."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import yaml

from medbench.errors import AnalysisError

__all__ = ["Published", "read_published"]


@dataclass(frozen=True)
class Published:
    """Scores that someone else reported.

    Attributes:
        model: Name shown.
        source: Where they were published.
        scores: Task or group to score, on the scale of the runs (0 to 1).
    """

    model: str
    source: str
    scores: dict[str, float]


def read_published(path: str | PathLike[str]) -> list[Published]:
    """Read published scores from a YAML: a list of ``model``, ``source`` and ``scores``.

    Raises:
        AnalysisError: The file cannot be read, or an entry holds something else than a sourced score.
    """
    where = Path(path)
    try:
        content: Any = yaml.safe_load(where.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise AnalysisError(f"published scores cannot be read: {error}", where=str(where)) from error
    if not isinstance(content, list):
        raise AnalysisError("published scores are a list of entries", where=str(where))
    found = []
    for number, entry in enumerate(content, 1):
        place = f"{where}, entry {number}"
        if not isinstance(entry, dict) or set(entry) != {"model", "source", "scores"}:
            raise AnalysisError("an entry has the keys model, source and scores", where=place)
        scores = entry["scores"]
        if not isinstance(scores, dict) or not all(
            isinstance(value, (int, float)) and 0 <= value <= 1 for value in scores.values()
        ):
            raise AnalysisError(
                "scores map tasks to numbers between 0 and 1", where=place, hint="divide percentages by 100"
            )
        scores = {str(task): float(value) for task, value in scores.items()}
        found.append(Published(str(entry["model"]), str(entry["source"]), scores))
    return found
