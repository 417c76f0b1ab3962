"""``medbench tasks``: what can be evaluated, and whether its definitions are sound."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medbench.cli.output import print_json, print_table

if TYPE_CHECKING:
    from medbench.catalog import TaskIndex

__all__ = ["app"]

app = typer.Typer(help="List, show, check and make tasks.", no_args_is_help=True)

TasksDir = Annotated[
    list[Path] | None, typer.Option("--tasks-dir", help="Another folder with task YAMLs; may be repeated.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_command(
    tag: Annotated[list[str] | None, typer.Option(help="Only tasks with this tag; may be repeated.")] = None,
    language: Annotated[str | None, typer.Option(help="Only tasks in this language: zh or en.")] = None,
    tasks_dir: TasksDir = None,
    as_json: AsJson = False,
) -> None:
    """List tasks and groups."""
    from medbench.catalog import build_index

    index = build_index(tasks_dir or ())
    rows = [
        row
        for row in _rows(index)
        if set(tag or ()) <= set(row["tags"]) and (language is None or row["language"] == language)
    ]
    groups = [group.to_dict() for group in index.groups.values()]
    faults = {str(path): str(error) for path, error in index.faults}
    if as_json:
        print_json({"tasks": rows, "groups": groups, "faults": faults})
        return
    print_table(
        ("task", "tags", "protocol", "metric", "licence", "samples"),
        (
            (r["name"], " ".join(r["tags"]), r["protocol"], r["main_metric"], r["licence"], r["samples"])
            for r in rows
        ),
    )
    if not tag and not language:
        print_table(("group", "members"), ((g["name"], ", ".join(g["members"])) for g in groups))
    for path, fault in faults.items():
        typer.echo(f"cannot be read: {path}: {fault}", err=True)


def _rows(index: TaskIndex) -> list[dict[str, Any]]:
    """Tasks with what their datasets say."""
    from medbench.data.registry import register

    datasets = register(index.folders[1:]).datasets
    rows = []
    for task in index.tasks.values():
        entry = datasets.get(task.dataset or "")
        rows.append(task.to_dict() | {"licence": entry.licence if entry else None, "samples": None})
    return rows
