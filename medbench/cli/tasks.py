"""``medbench tasks``: listing, checking and creating task definitions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medbench.cli.options import AnyDataDir, AnySource, AsJson, Format, Output, TasksDir
from medbench.cli.output import print_json, say

if TYPE_CHECKING:
    from medbench.catalog import TaskIndex

app = typer.Typer(help="List, show, check and create tasks.", no_args_is_help=True)


@app.command("list")
def list_command(
    tag: Annotated[list[str] | None, typer.Option(help="Only tasks with this tag; may be repeated.")] = None,
    language: Annotated[str | None, typer.Option(help="Only tasks in this language: zh or en.")] = None,
    data_dir: AnyDataDir = None,
    source: AnySource = "auto",
    tasks_dir: TasksDir = None,
    form: Format = "text",
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """List tasks with their license and the current source of their documents."""
    from medbench.catalog import build_index
    from medbench.cli.tables import show_table
    from medbench.errors import CatalogError
    from medbench.reports.tables import listing

    index = build_index(tasks_dir or ())
    every = _rows(index, data_dir, source)
    for name in tag or ():
        _check_known("tag", name, index.tags)
    if language is not None:
        _check_known("language", language, {row["language"] for row in every if row["language"]})
    rows = [
        row
        for row in every
        if set(tag or ()) <= set(row["tags"]) and (language is None or row["language"] == language)
    ]
    if every and not rows:
        raise CatalogError(
            f"no task has all of {', '.join([*(tag or ()), *([language] if language else [])])}",
            hint="each of several filters leaves tasks out; give fewer",
        )
    groups = [group.to_dict() for group in index.groups.values()]
    faults = {str(path): str(error) for path, error in index.faults}
    if as_json:
        print_json({"tasks": rows, "groups": groups, "faults": faults})
    else:
        shown = ("name", "tags", "protocol", "main_metric", "n", "source", "licence")
        show_table(listing(shown, rows), form, output)
        if form == "text" and output is None and not tag and not language:
            members = [{"group": g["name"], "members": ", ".join(g["members"])} for g in groups]
            show_table(listing(("group", "members"), members))
        for path, fault in faults.items():
            say(f"cannot be read: {path}: {fault}", err=True)
    if faults:
        raise typer.Exit(1)


def _check_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Refuse a tag or language that no task has.

    Raises:
        CatalogError: It is not known.
    """
    from medbench.common.suggest import nearest
    from medbench.errors import CatalogError

    names = sorted(known)
    if name not in names:
        close = nearest(name, names)
        hint = f"did you mean {close}?" if close else f"there are {', '.join(names)}"
        raise CatalogError(f"no task has the {kind} {name!r}", where=f"--{kind}", hint=hint)


@app.command("show")
def show_command(
    name: Annotated[str, typer.Argument(help="A task or group.")],
    data_dir: AnyDataDir = None,
    source: AnySource = "auto",
    tasks_dir: TasksDir = None,
    form: Format = "text",
    as_json: AsJson = False,
) -> None:
    """Show a task or group: its settings, templates resolved, and its dataset."""
    from medbench.catalog import build_index, select
    from medbench.cli.tables import show_facts

    index = build_index(tasks_dir or ())
    if name in index.groups:
        values = index.groups[name].to_dict()
    else:
        task = select([name], index).tasks[0]
        row = next(row for row in _rows(index, data_dir, source) if row["name"] == task.name)
        settings = {key: _plain(value) for key, value in task.merged.values.items() if key != "task"}
        values = row | {"settings": settings}
    if as_json:
        print_json(values)
        return
    flat = {key: value for key, value in values.items() if key != "settings"} | values.get("settings", {})
    show_facts(flat, form=form)


@app.command("check")
def check_command(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="YAML files or folders; all shipped tasks by default.")
    ] = None,
    tasks_dir: TasksDir = None,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", help="Check the documents of this folder instead of the samples."),
    ] = None,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Let external definitions run their own Python code.")
    ] = False,
    static: Annotated[
        bool, typer.Option("--static", help="Read definitions and documents only; build and score nothing.")
    ] = False,
    show_prompts: Annotated[
        bool | None,
        typer.Option(
            "--prompts/--no-prompts",
            help="Print three prompts of each task with their targets; by default if PATHs are named.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check definitions, documents, prompts and scoring. Exit status 1 if there is an error."""
    from medbench.checks import check_tasks

    report = check_tasks(
        paths or (), tasks_dir or (), allow_code=allow_code, behave=not static, data_dir=data_dir
    )
    if as_json:
        print_json(
            {
                "checked": report.checked,
                "findings": [finding.to_dict() for finding in report.findings],
                "renderings": [rendering._asdict() for rendering in report.renderings],
            }
        )
    else:
        # Hundreds of prompts help nobody: by default they are printed for named paths only.
        asked = bool(paths) if show_prompts is None else show_prompts
        for rendering in report.renderings if asked else ():
            say(f"--- {rendering.task}: {rendering.document}\n{rendering.prompt}")
            say(f">>> {rendering.target}\n")
        for finding in report.findings:
            say(str(finding))
        warnings = sum(finding.severity == "warning" for finding in report.findings)
        errors = len(report.findings) - warnings
        say(f"{len(report.checked)} tasks and groups checked, {errors} errors, {warnings} warnings")
    if not report.ok:
        raise typer.Exit(1)


@app.command("new")
def new_command(
    name: Annotated[str, typer.Argument(help="Name of the task, its dataset and its folder.")],
    like: Annotated[str, typer.Option("--like", help="A task, or a folder of tasks, to use as a template.")],
    into: Annotated[Path, typer.Option("--into", help="Parent folder of the new one.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Create a folder with a task, sample documents and a passing test, to be filled in."""
    from medbench.checks import new_task

    folder = new_task(name, like, into)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if as_json:
        print_json({"folder": str(folder), "files": files})
        return
    for path in files:
        say(f"written  {path}")
    say(f"next     edit them, then: medbench tasks check {folder}")
    say(f"         medbench run --tasks {name} --tasks-dir {folder}")


def _rows(index: TaskIndex, data_dir: Path | None, source: str) -> list[dict[str, Any]]:
    """Tasks with what is known of their data without reading it."""
    from medbench.data.sources import summarize

    known = {
        dataset: summarize(dataset, data_dir, source, index.folders[1:])
        for dataset in {task.dataset for task in index.tasks.values() if task.dataset}
    }
    nothing = {"source": None, "n": None, "licence": None}
    return [task.to_dict() | known.get(task.dataset or "", nothing) for task in index.tasks.values()]


def _plain(value: Any) -> Any:
    """A setting as plain values, with functions by name."""
    from medbench.common.yaml_files import Function

    if isinstance(value, Function):
        return f"!function {value.name}"
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value
