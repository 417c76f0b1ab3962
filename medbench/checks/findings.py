"""A fault that was found: where it is, what it is, and what to do about it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

from medbench.catalog.tasks import Place
from medbench.errors import MedbenchError

#: What every shipped task has, and lm-eval needs of none: a warning in a definition from outside.
LENIENT = frozenset(
    {
        "implicit-limit",
        "main-metric-missing",
        "metric-argument",
        "missing-citation",
        "missing-licence",
        "missing-metadata",
        "missing-version",
        "no-direction",
        "no-metrics",
        "unpinned-source",
    }
)

_WHERE = re.compile(r"(?P<path>.+?)(?:, (?:line|row|record) (?P<line>\d+))?")


class Finding(NamedTuple):
    """One fault of a definition or of what it refers to.

    Attributes:
        file: The file at fault.
        line: The line at fault, 1-based; None when it is about the whole file.
        code: Short name of the kind of fault.
        message: What is wrong.
        hint: What to do about it.
        task: The task concerned, empty when the file defines none.
        severity: ``error``, or ``warning`` for what keeps no task from being run and scored as meant.
    """

    file: Path
    line: int | None
    code: str
    message: str
    hint: str = ""
    task: str = ""
    severity: Literal["error", "warning"] = "error"

    @classmethod
    def at(cls, place: Place, code: str, message: str, hint: str = "", task: str = "") -> Finding:
        """A finding at a place."""
        return cls(place.path, place.line, code, message, hint, task)

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else str(self.file)
        hint = f"\n  try: {self.hint}" if self.hint else ""
        mark = "warning: " if self.severity == "warning" else ""
        return f"{where}: {mark}{self.code}: {self.message}{hint}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**self._asdict(), "file": str(self.file)}


def from_error(error: MedbenchError, code: str, fallback: Place, task: str = "") -> Finding:
    """A finding from an error, at the place that the error names if it names a file."""
    match = _WHERE.fullmatch(error.where or "")
    if match and Path(match["path"]).is_file():
        line = int(match["line"]) if match["line"] else None
        return Finding(Path(match["path"]), line, code, error.what, error.hint or "", task)
    where = f" ({error.where})" if error.where else ""
    return Finding.at(fallback, code, error.what + where, error.hint or "", task)
