"""``medbench run`` and ``medbench demo``: evaluate a model and show what came of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medbench.cli.options import (
    AllowCode,
    Base,
    Results,
    Tasks,
    TasksDir,
    split_names,
)
from medbench.cli.output import print_json, say, wide_console
from medbench.cli.settings import Config, number_or_word, with_settings
from medbench.errors import MedbenchError
from medbench.runs.settings import RunSettings

if TYPE_CHECKING:
    from medbench.api import Evaluation

_ANY_WIDTH = 10_000  # columns: no table is wider


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("run")(run)
    app.command("demo")(demo)


@with_settings()
def run(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="Name of a model definition (by default demo), a YAML file, or the folder or hub id of a "
            "checkpoint. Repeated: the models are evaluated in turn and compared with the first.",
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            "--name", help="What to call the model in results and tables; repeated, once for each --model."
        ),
    ] = None,
    tasks: Tasks = None,
    base: Base = None,
    *,
    settings: RunSettings,
    results: Results = Path("results"),
    tasks_dir: TasksDir = None,
    allow_code: AllowCode = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over instead of going on with an earlier run.")
    ] = False,
    rescore: Annotated[
        bool,
        typer.Option("--rescore", help="Score the stored answers of an earlier run anew, without the model."),
    ] = False,
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="Write an HTML report into the run folder.")
    ] = True,
    log_file: Annotated[Path | None, typer.Option(help="Write the log there, as JSON lines.")] = None,
    workers: Annotated[
        str | None,
        typer.Option(
            help="Copies of the model that answer side by side (needs the extra `ray`), or auto: one per "
            "GPU, else per two cores. Changes speed, not answers."
        ),
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="Running Ray cluster that the workers go to: auto or ray://host:10001.")
    ] = None,
    gpus_per_worker: Annotated[
        int, typer.Option(help="GPUs that one copy of the model is spread over, if it does not fit on one.")
    ] = 1,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print settings and scores as JSON.")] = False,
) -> None:
    """Evaluate a model on tasks; without arguments, the bundled demo on the bundled samples."""
    from medbench.api import evaluate_each

    outcomes = []
    # What code of tasks and of libraries may print does not belong into the JSON.
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        for outcome in evaluate_each(
            model or ["demo"],
            names=name or (),
            tasks=split_names(*tasks or ()),
            base=base,
            settings=settings,
            results=results,
            task_folders=tasks_dir or (),
            allow_code=allow_code,
            fresh=fresh,
            rescore=rescore,
            report=report,
            log_file=log_file,
            quiet=as_json,
            workers=number_or_word(workers),
            ray_address=ray_address,
            gpus_per_worker=gpus_per_worker,
            tell=_tell,
        ):
            outcomes.append(outcome)
            if not as_json:
                _show(outcome)
    if as_json:
        contents = [_as_json(outcome) for outcome in outcomes]
        print_json(contents[0] if len(contents) == 1 else contents)
    elif len(outcomes) > 1:
        _compare(outcomes, results / "comparison.html" if report else None)
    if any(outcome.failures for outcome in outcomes):
        raise typer.Exit(1)


def demo(results: Results = Path("results")) -> None:
    """Evaluate the bundled demo checkpoint on the bundled samples."""
    run(results=results)


def _tell(note: str) -> None:
    say(f"note: {note}", err=True)


def _show(outcome: Evaluation) -> None:
    from rich.text import Text

    from medbench.analysis.conditions import Conditions
    from medbench.common.terminal import printable
    from medbench.reports.renderers import terminal
    from medbench.reports.score_tables import run_table

    frame = outcome.runs.scores()
    console = wide_console(_ANY_WIDTH)
    for run in outcome.runs:
        conditions = f"  {printable(Conditions.of(run).line())}"
        console.print(Text.assemble((printable(run.model), "bold"), conditions))
    console.print(terminal(run_table(frame), console.width))
    if (frame["data_source"] == "samples").any():
        console.print("Bundled samples, not a benchmark score.", style="bold yellow")
    for name, why in outcome.failures.items():
        console.print(Text(printable(f"{name} failed: {why}"), style="red"))
    for text in outcome.warnings:
        console.print(Text(printable(f"warning: {text}"), style="yellow"))
    if outcome.reused:
        console.print("This very run was complete already; --fresh repeats it.")
    console.print(f"results  {outcome.directory}", highlight=False, markup=False)
    if outcome.report is not None:
        console.print(f"report   {outcome.report}", highlight=False, markup=False)


def _compare(outcomes: Sequence[Evaluation], page: Path | None) -> None:
    """Show the differences from the first model and the ranking, and write one report over all."""
    from medbench.analysis import compare, leaderboard, load_runs
    from medbench.cli.tables import show_table
    from medbench.reports import write_report
    from medbench.reports.score_tables import comparison_table, leaderboard_table

    directories = list(dict.fromkeys(outcome.directory for outcome in outcomes))
    runs = load_runs(directories)
    if len(runs.models) == 1:
        once = ", evaluated once" if len(directories) == 1 else ""
        _tell(f"these are one model{once}: there is nothing to compare")
        return
    # Checkpoints of one name are told apart only where they are loaded together.
    first = next(run.model for run in runs if run.path == outcomes[0].directory)
    # All scores stand above: tasks that cannot be compared or averaged cost their table only.
    with _beside("the comparison"):
        show_table(comparison_table(compare(runs, first)), "text", None)
    with _beside("the ranking"):
        show_table(leaderboard_table(leaderboard(runs)), "text", None)
    if page is not None:
        with _beside("the report"):
            write_report(runs, page, baseline=first)
            say(f"comparison  {page}")


@contextmanager
def _beside(what: str) -> Iterator[None]:
    """Say in a note why something that is shown beside the scores is left out."""
    try:
        yield
    except MedbenchError as error:
        _tell(f"{what} is left out: {error}")


def _as_json(outcome: Evaluation) -> dict[str, Any]:
    from medbench.cli.tables import as_records

    [run] = outcome.runs
    return {
        "model": run.model,
        "run": str(outcome.directory),
        "report": str(outcome.report) if outcome.report else None,
        "settings": run.manifest["settings"],
        "failures": outcome.failures,
        "warnings": list(outcome.warnings),
        "scores": as_records(outcome.runs.scores()),
    }
