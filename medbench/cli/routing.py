"""``medbench routing``: what the experts of a run did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medbench.cli.ablate import ablate
from medbench.cli.options import Format, Output, RoutedRunPaths, RowsAsJson, split_names
from medbench.cli.output import print_json, say
from medbench.cli.tokens import scores, tokens
from medbench.cli.traces import agree, kinds, trace

if TYPE_CHECKING:
    from medbench.reports.section import Section

__all__ = ["app", "register"]

app = typer.Typer(help="What the experts of a mixture of LoRA experts did.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Add the command group to ``parent``."""
    for command in (kinds, ablate, trace, agree, tokens, scores):
        app.command(command.__name__)(command)
    parent.add_typer(app, name="routing")


@app.command("show")
def show(
    runs: RoutedRunPaths = None,
    by: Annotated[
        str, typer.Option(help="What to keep apart, with commas: task, phase, layer, projection.")
    ] = "task",
    form: Format = "text",
    output: Output = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with all pictures of routing there.")
    ] = None,
    png: Annotated[
        Path | None, typer.Option(help="Write every picture into this folder, as PNG (medbench[plots]).")
    ] = None,
    svg: Annotated[Path | None, typer.Option(help="Likewise as SVG, which needs nothing more.")] = None,
) -> None:
    """Balance and decidedness of the routers, each figure beside its chance level."""
    from medbench.analysis.routing import router_summary
    from medbench.cli.tables import as_records, load, show_table
    from medbench.reports.page import sampled_note
    from medbench.reports.results import routing_table

    found = load(runs)
    frame = router_summary(found.routing(), _columns(by))
    if as_json:
        print_json(as_records(frame))
    else:
        show_table(routing_table(frame), form, output)
    if html or png or svg:
        from medbench.reports.routing_page import routing_sections

        title = f"Routing of {', '.join(found.models)}"
        _draw(
            routing_sections(found), title, html=html, png=png, svg=svg, sampled=sampled_note(found.scores())
        )


@app.command("similarity")
def similarity(
    runs: RoutedRunPaths = None,
    phase: Annotated[str | None, typer.Option(help="Only prompt or only generated tokens.")] = None,
    form: Format = "text",
    output: Output = None,
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
    form: Format = "text",
    output: Output = None,
    as_json: RowsAsJson = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with the picture there.")] = None,
    png: Annotated[
        Path | None, typer.Option(help="Write the picture into this folder, as PNG (medbench[plots]).")
    ] = None,
    svg: Annotated[Path | None, typer.Option(help="Likewise as SVG, which needs nothing more.")] = None,
) -> None:
    """How the load of each expert differs between two checkpoints."""
    import pandas as pd

    from medbench.analysis.routing import load_difference
    from medbench.cli.tables import as_records, load, show_table
    from medbench.reports.page import sampled_note
    from medbench.reports.results import load_difference_table

    one, other = load([first]), load([second])
    frame = load_difference(one.routing(), other.routing(), _columns(by))
    if as_json:
        print_json(as_records(frame))
    else:
        show_table(load_difference_table(frame, one.models[0], other.models[0]), form, output)
    if html or png or svg:
        from medbench.reports.routing_page import change_section

        scores = pd.concat([one.scores(), other.scores()])
        sections = [change_section(one, other)]
        _draw(sections, "Routing compared", html=html, png=png, svg=svg, sampled=sampled_note(scores))


def _draw(
    sections: Sequence[Section],
    title: str,
    *,
    html: Path | None,
    png: Path | None,
    svg: Path | None,
    sampled: str,
) -> None:
    """Write the pictures as they were asked for, and say on standard error where they lie."""
    from medbench.reports.page import render_sections, write_page
    from medbench.reports.routing_page import write_pictures

    written = []
    if html is not None:
        written.append(write_page(render_sections(sections, title=title, sampled=sampled), html))
    for folder, form in ((png, "png"), (svg, "svg")):
        if folder is not None:
            written += write_pictures(sections, folder, form)
    for path in written:
        say(str(path), err=True)


def _columns(by: str) -> list[str]:
    from medbench.analysis.routing import BY
    from medbench.errors import AnalysisError

    columns = split_names(by)
    unknown = [name for name in columns if name not in BY]
    if unknown or not columns:
        raise AnalysisError(
            f"routing cannot be told apart by {', '.join(unknown) or 'nothing'}",
            hint=f"use some of {', '.join(BY[2:])}",
        )
    return columns
