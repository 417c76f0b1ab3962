"""The public functions, re-exported by :mod:`medbench`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medbench.runs.settings import RunSettings, known_settings

if TYPE_CHECKING:
    from medbench.analysis import Runs
    from medbench.catalog import ModelDefinition
    from medbench.runs.ablation import AblationOutcome
    from medbench.runs.execution import RunOutcome
    from medbench.runs.plan import RunPlan
    from medbench.runs.traces import Traces
    from medbench.workers.cluster import WorkerOptions

DEFAULT_TASKS = ("medbench_all",)


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation.

    Attributes:
        runs: The run, loaded; ``scores()``, ``samples()`` and ``routing()`` give its tables as frames.
        directory: Its folder.
        failures: Why tasks failed, by name.
        warnings: What deserves a second look.
        reused: Whether a finished run of the same plan was found.
        report: The HTML report, if one was written.
    """

    runs: Runs
    directory: Path
    failures: dict[str, str]
    warnings: tuple[str, ...]
    reused: bool
    report: Path | None


def evaluate(
    model: str = "demo",
    tasks: Sequence[str] = DEFAULT_TASKS,
    settings: RunSettings | None = None,
    **options: Any,
) -> Runs:
    """Evaluate a model and return its run.

    Args:
        model: Name of a model definition, a YAML file, or the folder or hub id of a checkpoint.
        tasks: Tasks, groups or tags.
        settings: How it is evaluated.
        **options: As for :func:`evaluate_each`; single settings too, such as ``limit=20``.

    Returns:
        The run, loaded: ``scores()``, ``samples()``, ``routing()``.
    """
    return evaluate_with_outcome(model=model, tasks=tasks, settings=settings, **options).runs


def evaluate_with_outcome(*, model: str = "demo", name: str | None = None, **options: Any) -> Evaluation:
    """Evaluate a model on tasks and say how it went.

    Args:
        model: Name of a model definition, a YAML file, or the folder or hub id of a checkpoint.
        name: What to call the model; by default as its definition or folder is called.
        **options: As for :func:`evaluate_each`.

    Raises:
        MedbenchError: The input is at fault; the message says what to do.
        SystemExit: In the helping processes of ``torchrun`` and ``accelerate launch``, once rank 0 is done.
    """
    [outcome] = evaluate_each([model], names=() if name is None else [name], **options)
    return outcome


def evaluate_each(
    models: Sequence[str],
    *,
    names: Sequence[str] = (),
    tasks: Sequence[str] = (),
    base: str | None = None,
    settings: RunSettings | None = None,
    results: str | Path = "results",
    task_folders: Sequence[str | Path] = (),
    allow_code: bool = False,
    fresh: bool = False,
    rescore: bool = False,
    report: bool = True,
    log_file: str | Path | None = None,
    quiet: bool = False,
    workers: int | str | None = None,
    ray_address: str | None = None,
    gpus_per_worker: int = 1,
    tell: Callable[[str], None] | None = None,
    **changes: Any,
) -> Iterator[Evaluation]:
    """Evaluate models on tasks, one after the other, and say of each how it went.

    All are planned before the first is evaluated.

    Args:
        models: Names of model definitions, YAML files, or folders or hub ids of checkpoints.
        names: What to call them; by default as their definitions or folders are called, and other models of
            the same name are told apart (:func:`medbench.runs.naming.name_plans`).
        tasks: Tasks, groups or tags; every bundled task by default.
        base: Base model of an adapter checkpoint.
        settings: How they are evaluated.
        results: Folder for runs.
        task_folders: More folders with task YAMLs.
        allow_code: Let those folders run their own Python functions.
        fresh: Start over instead of going on with an earlier run.
        rescore: Score the stored answers of an earlier run anew, without the model.
        report: Write ``report.html`` into the run folder.
        log_file: Write the log there, as JSON lines.
        quiet: Show no progress.
        workers: Copies of the model that answer side by side, as Ray actors, or ``auto``; by default this
            process answers.
        ray_address: Running Ray cluster to use, ``auto`` or ``ray://…``; by default workers stay on this
            machine.
        gpus_per_worker: GPUs that each copy of the model is spread over.
        tell: Hears what models are called, where that is not plain; by default it is shown with the progress.
        **changes: Fields of :class:`~medbench.runs.settings.RunSettings` that differ from ``settings``.

    Yields:
        An outcome per model.

    Raises:
        MedbenchError: The input is at fault; the message says what to do.
        SystemExit: In the helping processes of ``torchrun`` and ``accelerate launch``, once rank 0 is done.
    """
    from medbench.workers import ranks

    if ranks.is_worker_rank():
        ranks.serve_rank_zero()
        raise SystemExit(0)
    pool = _workers(workers, ray_address, gpus_per_worker)
    if ranks.launched():
        ranks.init_rendezvous()
    from medbench.catalog import find_model
    from medbench.runs.execution import execute
    from medbench.runs.naming import check_names, name_plans

    check_names(names, len(models))
    asked = _settled(settings, changes)
    definitions = [find_model(model, base=base, **asked.of_model()) for model in models]
    plans = [
        _plan(asked, definition, tasks, task_folders, allow_code=allow_code) for definition in definitions
    ]
    plans, notes = name_plans(plans, Path(results), names)
    say = tell or (_silent if quiet else _progress().message)
    for note in notes:
        say(note)
    for plan in plans:
        outcome = execute(
            plan,
            Path(results),
            fresh=fresh,
            rescore=rescore,
            log_file=Path(log_file) if log_file is not None else None,
            progress=None if quiet else _progress(),
            workers=pool,
        )
        yield _evaluation(outcome, with_report=report)


def _silent(_: str) -> None:
    """Say nothing."""


def _evaluation(outcome: RunOutcome, *, with_report: bool) -> Evaluation:
    from medbench.analysis import load_runs
    from medbench.runs.extras import extra
    from medbench.runs.manifest import noting_warnings

    runs = load_runs(outcome.directory.path)
    page = outcome.directory.path / "report.html"
    warnings = outcome.warnings
    if with_report and not (outcome.reused and page.exists()):
        from medbench.reports import write_report

        with noting_warnings(outcome.directory) as said, extra("the report"):
            write_report(runs, page)
        warnings = tuple(said)
    return Evaluation(
        runs=runs,
        directory=outcome.directory.path,
        failures=outcome.failures,
        warnings=warnings,
        reused=outcome.reused,
        report=page if page.exists() else None,
    )


def ablate(
    *,
    model: str = "demo",
    tasks: Sequence[str] = (),
    variants: Sequence[str] | None = None,
    sweep: str = "everywhere",
    base: str | None = None,
    settings: RunSettings | None = None,
    results: str | Path = "results",
    task_folders: Sequence[str | Path] = (),
    allow_code: bool = False,
    quiet: bool = False,
    **changes: Any,
) -> AblationOutcome:
    """Score tasks with the model intact and with experts taken away.

    :func:`medbench.analysis.routing.ablation.read_ablation` reads what it leaves behind.

    Args:
        model: Name of a model definition, a YAML file, or the folder or hub id of a checkpoint.
        tasks: Tasks, groups or tags; every bundled task by default.
        variants: What to change, such as ``expert:3``, ``expert:0+1@2.gate``, ``top1``, ``off``
            (:func:`medbench.models.parse_ablation`); by default every expert in turn, and the other forms.
        sweep: Where that default knocks experts out: ``everywhere``, ``layers`` or ``linears``.
        base: Base model of an adapter checkpoint.
        settings: How it is evaluated; routing is not recorded.
        results: Folder for results.
        task_folders: More folders with task YAMLs.
        allow_code: Let those folders run their own Python functions.
        quiet: Show no progress.
        **changes: Fields of :class:`~medbench.runs.settings.RunSettings` that differ from ``settings``.

    Raises:
        MedbenchError: The input is at fault; the message says what to do.
    """
    from medbench.catalog import find_model
    from medbench.models import parse_ablation
    from medbench.runs.ablation import ablate as run_ablation
    from medbench.runs.naming import name_plans

    chosen = None if variants is None else [parse_ablation(text) for text in variants]
    asked = replace(_settled(settings, changes), routing="off")
    definition = find_model(model, base=base, **asked.of_model())
    plan = _plan(asked, definition, tasks, task_folders, allow_code=allow_code)
    [plan], notes = name_plans([plan], Path(results))
    progress = None if quiet else _progress()
    if progress is not None:
        for note in notes:
            progress.message(note)
    return run_ablation(plan, chosen, Path(results), where=sweep, progress=progress)


def trace(
    *,
    model: str = "demo",
    tasks: Sequence[str] = (),
    base: str | None = None,
    settings: RunSettings | None = None,
    task_folders: Sequence[str | Path] = (),
    allow_code: bool = False,
    quiet: bool = False,
    **changes: Any,
) -> Traces:
    """Record what every router chooses for every token of the prompts of some tasks.

    Args:
        model: Name of a model definition, a YAML file, or the folder or hub id of a checkpoint.
        tasks: Tasks, groups or tags; every bundled task by default.
        base: Base model of an adapter checkpoint.
        settings: How prompts are made.
        task_folders: More folders with task YAMLs.
        allow_code: Let those folders run their own Python functions.
        quiet: Show no progress.
        **changes: Fields of :class:`~medbench.runs.settings.RunSettings` that differ from ``settings``.

    Raises:
        MedbenchError: The input is at fault; the message says what to do.
    """
    from medbench.catalog import find_model
    from medbench.runs.traces import trace as run_trace

    asked = replace(_settled(settings, changes), routing="off")
    definition = find_model(model, base=base, **asked.of_model())
    plan = _plan(asked, definition, tasks, task_folders, allow_code=allow_code)
    return run_trace(plan, **({} if quiet else {"message": _progress().message}))


def _settled(settings: RunSettings | None, changes: Mapping[str, Any]) -> RunSettings:
    """The settings with single fields changed."""
    from medbench.common.suggest import suggestion
    from medbench.errors import RunError

    known = known_settings()
    for name in changes:
        if name not in known:
            raise RunError(f"there is no setting {name!r}", hint=suggestion(name, known))
    plain: dict[str, Any] = {
        name: str(value) if isinstance(value, Path) else value for name, value in changes.items()
    }
    return replace(settings or RunSettings(), **plain)


def _plan(
    settings: RunSettings,
    model: ModelDefinition,
    tasks: Sequence[str],
    task_folders: Sequence[str | Path] = (),
    *,
    allow_code: bool = False,
) -> RunPlan:
    """Plan the tasks, all bundled ones if none is named; refuse one from outside that would be misread."""
    from medbench.checks.keys import refuse_misread
    from medbench.runs.plan import make_plan

    plan = make_plan(
        model,
        list(tasks) or list(DEFAULT_TASKS),
        task_folders=[Path(folder) for folder in task_folders],
        settings=settings,
        allow_code=allow_code,
    )
    for task in plan.tasks:
        if not task.shipped:
            refuse_misread(task)
    return plan


def _workers(count: Any, address: str | None, gpus: int) -> WorkerOptions | None:
    """Who answers; ``None``: this process alone."""
    from medbench.errors import WorkersError
    from medbench.workers import ranks
    from medbench.workers.cluster import WorkerOptions

    asked = count is not None or address is not None or gpus != 1
    if not asked and not ranks.launched():
        return None
    if asked and ranks.launched():
        raise WorkersError(
            "the launcher has started the workers already",
            where="--workers, --ray-address, --gpus-per-worker",
            hint="leave these out under torchrun and accelerate launch, or leave the launcher out",
        )
    return WorkerOptions("auto" if count is None else count, address, gpus)


def _progress() -> Any:
    from rich.console import Console

    from medbench.runs.progress import ConsoleProgress

    return ConsoleProgress(Console(stderr=True))
