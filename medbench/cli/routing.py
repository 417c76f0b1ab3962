"""``medbench routing``: how the experts of a run were used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medbench.cli.ablate import ablate
from medbench.cli.options import Format, Output, RoutedRunPaths, RowsAsJson, TaskNames, split_names
from medbench.cli.output import print_json, say
from medbench.cli.routed import Phase, Top, leading, routing_of, runs_among, shown_in_part
from medbench.cli.tokens import scores, tokens
from medbench.cli.traces import agree, kinds, trace

if TYPE_CHECKING:
    import pandas as pd

    from medbench.reports.section import Section

app = typer.Typer(help="How the experts of a mixture are used.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Add the command group to ``parent``."""
    for command in (kinds, ablate, trace, agree, tokens, scores):
        app.command(command.__name__)(command)
    parent.add_typer(app, name="routing")


@app.command("show")
def show(
    runs: RoutedRunPaths = None,
    by: Annotated[
        str, typer.Option(help="What to group by, separated by commas: task, phase, layer, projection.")
    ] = "task",
    task: TaskNames = None,
    metric: Annotated[str | None, typer.Option(help="Only these metrics, separated by commas.")] = None,
    top: Annotated[
        int | None,
        typer.Option(min=1, help="Only this many rows of each metric: those farthest from chance."),
    ] = None,
    form: Format = "text",
    output: Output = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write an HTML page with all figures to this file.")
    ] = None,
    png: Annotated[
        Path | None,
        typer.Option(help="Write all figures as PNG files to this folder (needs the extra `plots`)."),
    ] = None,
    svg: Annotated[Path | None, typer.Option(help="Likewise as SVG, which needs nothing more.")] = None,
) -> None:
    """Show load balance and confidence of the routers, each beside its chance level."""
    from medbench.analysis.routing.summary import router_summary
    from medbench.cli.tables import as_records, load, show_table
    from medbench.reports.routing_tables import routing_table
    from medbench.reports.sentences import samples_warning

    found = load(runs)
    summary = router_summary(routing_of(found, task), _columns(by))
    frame = _chosen(summary, split_names(*([] if metric is None else [metric])), top)
    if as_json:
        print_json(as_records(frame))
    else:
        show_table(routing_table(frame), form, output)
    if html or png or svg:
        from medbench.reports.report import routing_sections

        title = f"Routing of {', '.join(found.models)}"
        _draw(
            routing_sections(found),
            title,
            html=html,
            png=png,
            svg=svg,
            sampled=samples_warning(found.scores()),
        )


@app.command("similarity")
def similarity(
    runs: RoutedRunPaths = None,
    phase: Annotated[Phase | None, typer.Option(help="Tokens of this phase only.")] = None,
    task: TaskNames = None,
    top: Top = None,
    form: Format = "text",
    output: Output = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the pairs as JSON.")] = False,
) -> None:
    """Show how similarly pairs of tasks are routed."""
    from medbench.analysis.routing.summary import task_similarity
    from medbench.cli.tables import as_records, load, show_table
    from medbench.reports.routing_tables import similarity_table

    frame = task_similarity(routing_of(load(runs), task), phase=phase)
    if as_json and not top:
        print_json(as_records(frame))
        return
    pairs = frame[frame["task"] != frame["other"]]
    shown = leading(pairs, "similarity", top, "json" if as_json else form)
    if as_json:
        print_json(as_records(shown))
        return
    table = shown_in_part(similarity_table(shown), len(shown), len(pairs), "most similar pairs")
    show_table(table, form, output)


@app.command("compare")
def compare(
    runs: Annotated[
        list[str], typer.Argument(metavar="FIRST SECOND", help="Run directories of two checkpoints.")
    ],
    by: Annotated[str, typer.Option(help="What to group by, separated by commas.")] = "task,layer,projection",
    task: TaskNames = None,
    top: Top = None,
    form: Format = "text",
    output: Output = None,
    as_json: RowsAsJson = False,
    html: Annotated[
        Path | None, typer.Option(help="Write an HTML page with the figure to this file.")
    ] = None,
    png: Annotated[
        Path | None,
        typer.Option(help="Write the figure as a PNG file to this folder (needs the extra `plots`)."),
    ] = None,
    svg: Annotated[Path | None, typer.Option(help="Likewise as SVG, which needs nothing more.")] = None,
) -> None:
    """Show how the load of each expert differs between two checkpoints."""
    import pandas as pd

    from medbench.analysis.routing.summary import load_difference
    from medbench.cli.tables import as_records, load, show_table
    from medbench.reports.routing_tables import load_difference_table
    from medbench.reports.sentences import samples_warning

    one, other = (load([path]) for path in runs_among(runs, 2, 2))
    frame = load_difference(routing_of(one, task), routing_of(other, task), _columns(by))
    shown = leading(frame, "difference", top, "json" if as_json else form)
    if as_json:
        print_json(as_records(shown if top else frame))
    else:
        table = load_difference_table(shown, one.models[0], other.models[0])
        show_table(shown_in_part(table, len(shown), len(frame), "largest differences"), form, output)
    if html or png or svg:
        from medbench.reports.sections.routing_tasks import change_section

        scores = pd.concat([one.scores(), other.scores()])
        sections = [change_section(one, other)]
        _draw(sections, "Routing compared", html=html, png=png, svg=svg, sampled=samples_warning(scores))


def _draw(
    sections: Sequence[Section],
    title: str,
    *,
    html: Path | None,
    png: Path | None,
    svg: Path | None,
    sampled: str,
) -> None:
    """Write the requested figures, and print their paths on standard error."""
    from medbench.reports.charts.picture import write_pictures
    from medbench.reports.page import render_sections, write_page

    written = []
    if html is not None:
        written.append(write_page(render_sections(sections, title=title, sampled=sampled), html))
    for folder, form in ((png, "png"), (svg, "svg")):
        if folder is not None:
            pictures = [picture for section in sections for picture in section.pictures]
            written += write_pictures(pictures, folder, form)
    for path in written:
        say(str(path), err=True)


def _chosen(summary: pd.DataFrame, metrics: Sequence[str], top: int | None) -> pd.DataFrame:
    """Select rows by metric, and of each metric those farthest from chance."""
    from medbench.errors import AnalysisError

    known = list(dict.fromkeys(summary["metric"]))
    unknown = [name for name in metrics if name not in known]
    if unknown:
        raise AnalysisError(f"there is no metric {unknown[0]!r} of routing", hint=", ".join(known))
    kept = summary[summary["metric"].isin(metrics or known)]
    if top is None:
        return kept
    # A metric without a chance level is measured from zero.
    far = (kept["value"] - kept["chance"].fillna(0)).abs()
    groups = far.groupby([kept["model"], kept["run"], kept["metric"]], observed=True)
    rank = groups.rank("first", ascending=False)
    return kept[rank <= top]


def _columns(by: str) -> list[str]:
    from medbench.analysis.routing.summary import BY
    from medbench.errors import AnalysisError

    columns = split_names(by)
    unknown = [name for name in columns if name not in BY]
    if unknown or not columns:
        raise AnalysisError(
            f"routing cannot be grouped by {', '.join(unknown) or 'nothing'}",
            hint=f"use some of {', '.join(BY[2:])}",
        )
    return columns
