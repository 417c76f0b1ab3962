"""``medbench routing kinds``, ``trace`` and ``agree``: expert use by kind of task and by token."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from medbench.cli.options import (
    AllowCode,
    Base,
    Format,
    Model,
    Output,
    RoutedRunPaths,
    RowsAsJson,
    TaskNames,
    Tasks,
    TasksDir,
    split_names,
)
from medbench.cli.output import print_json, say
from medbench.cli.routed import routing_of, runs_among
from medbench.cli.settings import with_settings
from medbench.runs.settings import RunSettings


def kinds(
    runs: RoutedRunPaths = None,
    by: Annotated[
        str, typer.Option(help="What tasks are grouped by, separated by commas: language, family, protocol.")
    ] = "language,family",
    across: Annotated[
        bool, typer.Option("--across/--each", help="Mean over all routers, or each router separately.")
    ] = True,
    phase: Annotated[
        Literal["prompt", "generated", "template", "content"] | None,
        typer.Option(
            help="Tokens of this phase only, or of this part of the prompt (runs made with --routing tokens)."
        ),
    ] = None,
    task: TaskNames = None,
    form: Format = "text",
    output: Output = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rates as JSON.")] = False,
) -> None:
    """Show how often the tokens of each kind of task choose each expert, beside chance."""
    from medbench.analysis.routing.by_kind import regrouped, specialization, task_groups
    from medbench.analysis.routing.cells import cells
    from medbench.analysis.routing.token_parts import part_counts
    from medbench.cli.tables import as_records, load, show_table
    from medbench.reports.routing_tables import specialization_table

    found = load(runs)
    groups = task_groups(found, split_names(by))
    routing = routing_of(found, task)
    if phase in ("template", "content"):
        counts = part_counts(found)
        routing = counts[counts["task"].isin(routing["task"].astype(str).unique())]
    rates = specialization(regrouped(cells(routing), groups), across_routers=across, phase=phase)
    frame = rates.rename(columns={"task": "kind"})
    if as_json:
        print_json(as_records(frame))
        return
    show_table(specialization_table(frame), form, output)


@with_settings(without=["routing"])
def trace(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write, such as demo.npz.")],
    model: Model = "demo",
    tasks: Tasks = None,
    base: Base = None,
    tasks_dir: TasksDir = None,
    allow_code: AllowCode = False,
    *,
    settings: RunSettings,
    as_json: Annotated[bool, typer.Option("--json", help="Print the repetition as JSON.")] = False,
) -> None:
    """Record every router's choices for every token of the prompts, and print how often choices repeat."""
    from medbench.analysis.routing.token_metrics import repetition
    from medbench.api import trace as run_trace
    from medbench.cli.tables import as_records, show_table
    from medbench.reports.routing_tables import repetition_table
    from medbench.runs.traces import save_traces

    traces = run_trace(
        model=model,
        tasks=split_names(*tasks or ()),
        base=base,
        settings=settings,
        task_folders=tasks_dir or (),
        allow_code=allow_code,
        quiet=as_json,
    )
    save_traces(traces, output)
    frame = repetition(traces)
    if as_json:
        print_json(as_records(frame))
        return
    show_table(repetition_table(frame), "text", None)
    say(str(output))


def agree(
    traces: Annotated[
        list[str],
        typer.Argument(metavar="FIRST SECOND", help="Traces or runs of two checkpoints on the same tasks."),
    ],
    form: Format = "text",
    output: Output = None,
    as_json: RowsAsJson = False,
) -> None:
    """Show how often the routers of two checkpoints agree on the same tokens."""
    from medbench.analysis.routing.token_metrics import checkpoint_agreement
    from medbench.cli.tables import as_records, show_table
    from medbench.reports.routing_tables import agreement_table
    from medbench.runs.traces import read_traces

    first, second = (read_traces(Path(path)).prompts() for path in runs_among(traces, 2, 2))
    frame = checkpoint_agreement(first, second)
    if as_json:
        print_json(as_records(frame))
        return
    show_table(agreement_table(frame), form, output)
