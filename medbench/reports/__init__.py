"""Reports for people: HTML pages, pictures, and tables for the terminal, papers and scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medbench.reports.report import render_report, write_report

__all__ = ["render_report", "write_report"]


def __getattr__(name: str) -> Any:
    """Load what makes a whole page only where one is made: tables alone need neither pandas nor templates."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from medbench.reports import report

    return getattr(report, name)
