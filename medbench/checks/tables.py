"""The tables of tasks, groups and datasets in the documentation, made from the definitions."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from medbench.catalog import build_index
from medbench.data import dataset_names, get_entry, read, resolve
from medbench.data.registry import register


def _markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines) + "\n"


def _cell(value: object) -> str:
    return "" if value is None else str(value).replace("|", "\\|")


def tasks_table() -> str:
    """All shipped tasks, by folder and name, as a Markdown table."""
    datasets = register().datasets
    rows = []
    for task in sorted(build_index().tasks.values(), key=lambda task: (task.folder.name, task.name)):
        entry = datasets[task.dataset or ""]
        licence = entry.licence.partition(";")[0].partition(" (")[0]
        rows.append(
            (
                f"`{task.name}`",
                task.alias,
                task.language,
                task.family,
                task.protocol,
                task.main_metric,
                entry.n,
                licence,
            )
        )
    header = ("task", "name", "language", "family", "protocol", "main metric", "documents", "licence")
    return _markdown(header, rows)


def groups_table() -> str:
    """All shipped groups as a Markdown table."""
    index = build_index()
    rows = (
        (
            f"`{group.name}`",
            group.alias,
            len(group.members),
            ", ".join(f"`{name}`" for name in group.members[:4]),
        )
        for group in sorted(index.groups.values(), key=lambda group: group.name)
    )
    return _markdown(("group", "name", "members", "the first of them"), rows)


def datasets_table() -> str:
    """All datasets as a Markdown table."""
    rows = []
    for name in dataset_names():
        entry = get_entry(name)
        samples = len(read(resolve(name, data_source="samples")).documents["test"])
        tests = [
            choice.path for split in entry.splits if split.split == "test" for choice in split.choices[1:]
        ]
        hub = entry.hub
        place = f"{hub.id}{f' ({hub.config})' if hub.config else ''}" if hub else None
        rows.append((f"`{name}`", " or ".join(f"`{path}`" for path in tests), place, entry.n, samples))
    header = ("dataset", "file of the test split", "hub", "documents", "samples")
    return _markdown(header, rows)


def update(page: Path, tables: Mapping[str, Callable[[], str]]) -> None:
    """Write tables between their marks in a page.

    Args:
        page: A Markdown file with ``<!-- name: … -->`` and ``<!-- end of name -->``.
        tables: What makes each table, by name.
    """
    text = page.read_text(encoding="utf-8")
    for name, table in tables.items():
        marks = re.compile(rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        content = table()
        text = marks.sub(lambda match, content=content: match[1] + content + match[2], text)  # type: ignore[misc]
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    docs = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    update(docs / "tasks.md", {"tasks": tasks_table, "groups": groups_table})
    update(docs / "data.md", {"datasets": datasets_table})
