"""``medbench routing``: what the experts of a run did."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medbench.cli.ablate import ablate
from medbench.cli.output import print_json
from medbench.cli.traces import agree, kinds, trace

__all__ = ["app", "register"]

app = typer.Typer(help="What the experts of a mixture of LoRA experts did.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Add the command group to ``parent``."""
    for command in (kinds, ablate, trace, agree):
        app.command(command.__name__)(command)
    parent.add_typer(app, name="routing")


@app.command("show")
def show(
    runs: Annotated[list[str] | None, typer.Argument(help="Run directories, folders or globs.")] = None,
    by: Annotated[
        str, typer.Option(help="What to keep apart, with commas: task, phase, layer, projection.")
    ] = "task",
    form: Annotated[str, typer.Option("--format", "-f", help="text, markdown, csv, latex or html.")] = "text",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
) -> None:
    """Balance and decidedness of the routers, each figure beside its chance level."""
    from medbench.analysis.routing import router_summary
    from medbench.cli.tables import as_records, load, show_table
    from medbench.reports.results import routing_table

    frame = router_summary(load(runs).routing(), _columns(by))
    if as_json:
        print_json(as_records(frame))
        return
    show_table(routing_table(frame), form, output)


@app.command("similarity")
def similarity(
    runs: Annotated[list[str] | None, typer.Argument(help="Run directories, folders or globs.")] = None,
    phase: Annotated[str | None, typer.Option(help="Only prompt or only generated tokens.")] = None,
    form: Annotated[str, typer.Option("--format", "-f", help="text, markdown, csv, latex or html.")] = "text",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the pairs as JSON.")] = False,
) -> None:
    """How alike tasks are routed, pair by pair."""
    from medbench.analysis.routing import task_similarity
    from medbench.cli.tables import as_records, load, show_table
    from medbench.reports.results import similarity_table

    frame = task_similarity(load(runs).routing(), phase=phase)
    if as_json:
        print_json(as_records(frame))
        return
    show_table(similarity_table(frame), form, output)


@app.command("compare")
def compare(
    first: Annotated[str, typer.Argument(help="Run directory of one checkpoint.")],
    second: Annotated[str, typer.Argument(help="Run directory of the other.")],
    by: Annotated[str, typer.Option(help="What to keep apart, with commas.")] = "task,layer,projection",
    form: Annotated[str, typer.Option("--format", "-f", help="text, markdown, csv, latex or html.")] = "text",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
) -> None:
    """How the load of each expert differs between two checkpoints."""
    from medbench.analysis import load_runs
    from medbench.analysis.routing import load_difference
    from medbench.cli.tables import as_records, show_table
    from medbench.reports.results import load_difference_table

    frame = load_difference(load_runs(first).routing(), load_runs(second).routing(), _columns(by))
    if as_json:
        print_json(as_records(frame))
        return
    show_table(load_difference_table(frame), form, output)


def _columns(by: str) -> list[str]:
    from medbench.analysis.routing import BY
    from medbench.errors import AnalysisError

    columns = [name.strip() for name in by.split(",") if name.strip()]
    unknown = [name for name in columns if name not in BY]
    if unknown or not columns:
        raise AnalysisError(
            f"routing cannot be told apart by {', '.join(unknown) or 'nothing'}",
            hint=f"use some of {', '.join(BY[2:])}",
        )
    return columns
