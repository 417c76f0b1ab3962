"""The tables in the documentation are those of the definitions."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from medbench.catalog import build_index
from medbench.checks.tables import datasets_table, groups_table, tasks_table

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize(
    ("page", "name", "table"),
    [
        ("tasks.md", "tasks", tasks_table),
        ("tasks.md", "groups", groups_table),
        ("data.md", "datasets", datasets_table),
    ],
)
def test_tables_are_up_to_date(page: str, name: str, table: Callable[[], str]) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    match = re.search(rf"<!-- {name}: [^\n]*-->\n(.*?)<!-- end of {name} -->", text, re.DOTALL)
    assert match, f"{page} has no place for the table of {name}"
    assert match.group(1) == table(), "run `python -m medbench.checks.tables docs` and commit the result"


def test_every_task_is_in_the_table() -> None:
    table = tasks_table()
    assert all(f"| `{name}` |" in table for name in build_index().tasks)
