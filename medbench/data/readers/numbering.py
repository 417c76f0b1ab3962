"""Whether answers are numbered from 0 or from 1, which only a whole file can show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from medbench.data.documents import announced_gold
from medbench.data.rows import Row
from medbench.errors import DataError

__all__ = ["FILE_CHECKS"]


def _bears_out(row: Row) -> bool:
    """Whether a MedMCQA row shows that `cop` counts from 1: it is 4, or its explanation names that option."""
    cop: Any = row.values.get("cop")
    if cop in (4, "4"):
        return True
    announced = announced_gold(row.optional("exp"))
    return cop in (1, 2, 3) and announced == "ABC"[int(cop) - 1]


def _medmcqa(rows: Sequence[Row]) -> None:
    """Refuse a file that could be the hub's: there `cop` counts from 0, in the published file from 1.

    Raises:
        DataError: If no row confirms the numbering.
    """
    if rows and not any(_bears_out(row) for row in rows):
        raise DataError(
            f"nothing in the {len(rows)} rows tells whether 'cop' counts from 1, as in the published file, "
            "or from 0, as on the hub",
            where=rows[0].where,
            hint="use the published file, or write these rows in the canonical form, with letters as answers",
        )


# By mapping; others understand each row by itself.
FILE_CHECKS: dict[str, Callable[[Sequence[Row]], None]] = {"medmcqa": _medmcqa}
