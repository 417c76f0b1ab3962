"""Errors that a person can act on: what happened, where, and what to do.

Every package raises a subclass of its own; the command line prints the message without a traceback and
ends with :attr:`MedbenchError.exit_status`.
"""

from __future__ import annotations


class MedbenchError(Exception):
    """Base of all errors that medbench raises on purpose.

    Args:
        what: One sentence that says what is wrong.
        where: The file, key, line, task or request concerned.
        hint: What the reader can do about it.
    """

    exit_status = 2

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what = what
        self.where = where
        self.hint = hint
        super().__init__(what, where, hint)

    def __str__(self) -> str:
        parts = [self.what]
        if self.where:
            parts.append(f"  in: {self.where}")
        if self.hint:
            parts.append(f"  try: {self.hint}")
        return "\n".join(parts)


class CatalogError(MedbenchError):
    """A task or model definition is missing or faulty."""


class DataError(MedbenchError):
    """A dataset cannot be found, read, verified or fetched."""


class ScoringError(MedbenchError):
    """A document or response cannot be scored by the rule asked for."""


class StatisticsError(MedbenchError):
    """A statistic was asked for that the data do not allow."""


class ModelError(MedbenchError):
    """A checkpoint cannot be loaded, or a request cannot be answered by it."""


class RunError(MedbenchError):
    """A run cannot be planned, executed, stored or resumed."""


class WorkersError(MedbenchError):
    """Workers cannot be started, or none is left."""


class AnalysisError(MedbenchError):
    """Runs cannot be read, or cannot be compared."""


class ReportError(MedbenchError):
    """A report cannot be written."""
