"""``medbench routing tokens`` and ``scores``: expert use per token, and in relation to answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medbench.cli.options import Format, Output, RowsAsJson
from medbench.cli.output import print_json, say
from medbench.cli.routed import Phase, runs_among

if TYPE_CHECKING:
    import pandas as pd

    from medbench.analysis import Runs
    from medbench.reports.tables import TextTable
    from medbench.runs.traces import Traces


def tokens(
    source: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="A run made with --routing tokens, or a trace file."),
    ],
    show: Annotated[
        Literal["classes", "vocabulary", "parts", "repetition"],
        typer.Option(help="Classes of tokens, words, template and content apart, or repeated choices."),
    ] = "classes",
    phase: Annotated[
        Phase | None, typer.Option(help="With classes and vocabulary: tokens of this phase only.")
    ] = None,
    top: Annotated[int, typer.Option(help="With vocabulary: words for each expert.")] = 5,
    least: Annotated[int, typer.Option(help="With vocabulary: tokens that a word must have.")] = 20,
    form: Format = "text",
    output: Output = None,
    as_json: RowsAsJson = False,
) -> None:
    """Show which classes of tokens and which words experts serve, by template and content, and repetition."""
    from medbench.analysis.routing.token_classes import class_specialization, vocabulary_specialization
    from medbench.analysis.routing.token_metrics import repetition
    from medbench.cli.tables import as_records, show_table
    from medbench.errors import AnalysisError
    from medbench.reports.routing_tables import classes_table, repetition_table, vocabulary_table
    from medbench.runs.traces import read_traces

    (where,) = runs_among(source, 1, 1)
    traces = read_traces(Path(where))
    if show == "parts":
        table, rows = _parts(traces)
    else:
        if show == "classes":
            frame = class_specialization(traces, phase=phase)
            table = classes_table(frame)
        elif show == "vocabulary":
            frame = vocabulary_specialization(traces, top=top, least=least, phase=phase)
            if frame.empty:
                raise AnalysisError(
                    f"no word occurs {least} times in several documents",
                    where=where,
                    hint="evaluate more documents, or lower --least",
                )
            table = vocabulary_table(frame)
        else:
            frame = repetition(traces)
            table = repetition_table(frame)
        rows = as_records(frame)
    if as_json:
        print_json(rows)
        return
    show_table(table, form, output)


def _parts(traces: Traces) -> tuple[TextTable, Any]:
    from medbench.analysis.routing.summary import router_summary, task_similarity
    from medbench.analysis.routing.token_parts import part_routing
    from medbench.cli.tables import as_records
    from medbench.reports.routing_tables import parts_table

    frame = part_routing(traces).assign(model=traces.model, run="")
    summary = router_summary(frame, ["phase"])
    # Documents of all tasks are numbered, and parts take the place of tasks.
    numbers = frame.groupby(["task", "document"], sort=True).ngroup()
    similarity = task_similarity(frame.assign(task=frame["phase"], document=numbers))
    rows = {"metrics": as_records(summary), "similarity": as_records(similarity)}
    return parts_table(summary, similarity), rows


def scores(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN [EARLIER]",
            help="Run directory; for the gains also that of an earlier checkpoint on the same tasks.",
        ),
    ],
    phase: Annotated[Phase | None, typer.Option(help="For the gains: tokens of this phase only.")] = None,
    as_json: RowsAsJson = False,
) -> None:
    """Show whether right answers are routed differently, and whether tasks with common experts gain alike."""
    from medbench.analysis.routing.gains import shared_gains
    from medbench.cli.tables import as_records, load, show_table
    from medbench.errors import AnalysisError
    from medbench.reports.routing_tables import gains_table, loads_table, verdicts_table

    run, *earlier = runs_among(runs, 1, 2)
    later = load([run])
    gains = None
    if earlier:
        gains = shared_gains(later, load(earlier), phase=phase)
    tables: tuple[pd.DataFrame, pd.DataFrame] | None = None
    try:
        tables = _verdicts(later)
    except AnalysisError as error:
        if gains is None:
            raise
        say(f"note: {error}", err=True)
    if as_json:
        print_json(
            {
                "verdicts": None if tables is None else as_records(tables[0]),
                "loads": None if tables is None else as_records(tables[1]),
                "gains": None if gains is None else {**gains._asdict(), "pairs": as_records(gains.pairs)},
            }
        )
        return
    if tables is not None:
        show_table(verdicts_table(tables[0]), "text", None)
        show_table(loads_table(tables[1]), "text", None)
    if gains is not None:
        show_table(gains_table(gains), "text", None)


def _verdicts(runs: Runs) -> tuple[pd.DataFrame, pd.DataFrame]:
    from medbench.analysis.routing.verdicts import loads_by_verdict, routing_by_verdict
    from medbench.errors import AnalysisError

    verdicts = routing_by_verdict(runs)
    if verdicts.empty:
        raise AnalysisError("no task has both right and wrong documents")
    return verdicts, loads_by_verdict(runs)
