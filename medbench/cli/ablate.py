"""``medbench routing ablate``: how scores change when experts are disabled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medbench.cli.options import (
    AllowCode,
    Base,
    Format,
    Model,
    Tasks,
    TasksDir,
    split_names,
)
from medbench.cli.output import print_json, say
from medbench.cli.settings import with_settings
from medbench.common.choices import Sweep
from medbench.runs.settings import RunSettings

if TYPE_CHECKING:
    import pandas as pd

    from medbench.runs.ablation import AblationOutcome


@with_settings(without=["routing"])
def ablate(
    model: Model = "demo",
    tasks: Tasks = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(
            "--variant",
            "-v",
            help="What to change, such as expert:3, expert:0+1@2.gate, expert:3@2.mlp, top1, uniform, "
            "average or off@2; may be repeated. By default every expert in turn, and the other forms.",
        ),
    ] = None,
    sweep: Annotated[
        Sweep,
        typer.Option(help="Disable experts in all layers at once, in each layer, or in each linear layer."),
    ] = "everywhere",
    by: Annotated[
        str, typer.Option(help="What tasks are grouped by, separated by commas: language, family, task.")
    ] = "language,family",
    base: Base = None,
    *,
    settings: RunSettings,
    results: Annotated[Path, typer.Option(help="Folder for results.")] = Path("results"),
    tasks_dir: TasksDir = None,
    allow_code: AllowCode = False,
    form: Format = "text",
    as_json: Annotated[bool, typer.Option("--json", help="Print the changes as JSON.")] = False,
) -> None:
    """Disable experts, score the tasks again, and compare with the unchanged model.

    Prints the change of each kind of task; the changes of single tasks go to effects.csv, a picture to
    ablation.html.
    """
    from medbench.analysis.routing.ablation import (
        ablation_contrasts,
        ablation_effects,
        check_kinds,
        read_ablation,
    )
    from medbench.api import ablate as run_ablation
    from medbench.cli.tables import as_records, show_table
    from medbench.reports.routing_tables import contrast_table

    kinds = split_names(by)
    check_kinds(kinds)
    outcome = run_ablation(
        model=model,
        tasks=split_names(*tasks or ()),
        variants=variant or None,
        sweep=sweep,
        base=base,
        settings=settings,
        results=results,
        task_folders=tasks_dir or (),
        allow_code=allow_code,
        quiet=as_json,
    )
    documents = read_ablation(outcome.path)
    effects = ablation_effects(documents)
    contrasts = ablation_contrasts(documents, kinds)
    written = _write(outcome, effects)
    if as_json:
        print_json(
            {
                "folder": str(outcome.path),
                "seconds": outcome.seconds,
                "failures": outcome.failures,
                "tasks": as_records(effects),
                "kinds": as_records(contrasts),
            }
        )
    else:
        show_table(contrast_table(contrasts), form, None)
        for path in (outcome.documents, *written):
            say(str(path))
        for name, why in outcome.failures.items():
            say(f"{name} failed: {why}", err=True)
    if outcome.failures:
        raise typer.Exit(1)


def _write(outcome: AblationOutcome, effects: pd.DataFrame) -> list[Path]:
    """Write the table of tasks and the picture; return their paths."""
    from medbench.reports.page import render_sections, write_page
    from medbench.reports.sections.routing_worth import ablation_section

    folder = outcome.path
    table = write_page(effects.to_csv(index=False), folder / "effects.csv")
    page = render_sections(
        [ablation_section([folder])],
        title=f"Ablation of {folder.parent.name}",
        sampled="Its documents are the few that come with the package." if outcome.sampled else "",
    )
    return [table, write_page(page, folder / "ablation.html")]
