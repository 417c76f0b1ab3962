"""The public functions, re-exported by :mod:`medbench`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medbench.runs.settings import RunSettings

if TYPE_CHECKING:
    from medbench.analysis import Runs
    from medbench.catalog import ModelDefinition
    from medbench.runs.ablation import AblationOutcome
    from medbench.runs.execution import RunOutcome
    from medbench.runs.plan import RunPlan
    from medbench.runs.traces import Traces
    from medbench.workers.options import WorkerOptions

__all__ = ["Evaluation", "ablate", "evaluate", "evaluate_each", "evaluate_with_outcome", "trace"]

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


def evaluate(model: str = "demo", tasks: Sequence[str] = DEFAULT_TASKS, **options: Any) -> Runs:
    """Evaluate a model and return its run.

    Args:
        model: Name of a model definition, a YAML file, or the folder or hub id of a checkpoint.
        tasks: Tasks, groups or tags.
        **options: As for :func:`evaluate_with_outcome`.

    Returns:
        The run, loaded: ``scores()``, ``samples()``, ``routing()``.
    """
    return evaluate_with_outcome(model=model, tasks=tasks, **options).runs


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
    limit: int | None = None,
    num_fewshot: int | None = None,
    data_dir: str | Path | None = None,
    data_source: str = "auto",
    results: str | Path = "results",
    task_folders: Sequence[str | Path] = (),
    allow_code: bool = False,
    dtype: str | None = None,
    device: str | None = None,
    quantization: str | None = None,
    deterministic: bool | None = None,
    max_batch_tokens: int | str | None = None,
    chat_template: bool | None = None,
    system_prompt: str | None = None,
    thinking: str | None = None,
    close_thinking: bool = False,
    max_gen_toks: int | None = None,
    routing: str = "documents",
    shuffle_options: int | None = None,
    circular: bool = False,
    seed: int = 1234,
    fresh: bool = False,
    rescore: bool = False,
    report: bool = True,
    log_file: str | Path | None = None,
    quiet: bool = False,
    workers: int | str | None = None,
    ray_address: str | None = None,
    gpus_per_worker: int = 1,
    tell: Callable[[str], None] | None = None,
) -> Iterator[Evaluation]:
    """Evaluate models on tasks, one after the other, and say of each how it went.

    All are planned before the first is evaluated.

    Args:
        models: Names of model definitions, YAML files, or folders or hub ids of checkpoints.
        names: What to call them; by default as their definitions or folders are called, and other models of
            the same name are told apart (:func:`medbench.runs.naming.name_plans`).
        tasks: Tasks, groups or tags; every bundled task by default.
        base: Base model of an adapter checkpoint.
        limit: Documents per task.
        num_fewshot: Examples before each document.
        data_dir: Folder with real benchmark files.
        data_source: ``auto``, ``folder``, ``hub`` or ``samples``.
        results: Folder for runs.
        task_folders: More folders with task YAMLs.
        allow_code: Let those folders run their own Python functions.
        dtype: Overrides the definition's number format.
        device: Overrides the definition's device.
        quantization: Overrides the definition's: ``none``, ``int8`` or ``nf4`` base weights.
        deterministic: Overrides the definition's: whether arithmetic is to be reproducible.
        max_batch_tokens: Token budget of a batch, or ``auto``.
        chat_template: Whether prompts go through the chat template, instead of what the definition says and
            the tokenizer has.
        system_prompt: Overrides the system prompt of the definition or of the authors; empty for none.
        thinking: Whether the chat template has the model reason first, ``on``, ``off`` or ``auto``, instead
            of what the definition says.
        close_thinking: Close reasoning that was left unfinished, and ask for the answer.
        max_gen_toks: New tokens of a written answer, reasoning included, instead of what tasks say.
        routing: ``off``, ``tasks``, ``documents`` or ``tokens``.
        shuffle_options: Seed that permutes the options of exam questions.
        circular: Ask exam questions in every rotation of their options.
        seed: Seeds few-shot sampling and the harness.
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

    Yields:
        An outcome per model.

    Raises:
        MedbenchError: The input is at fault; the message says what to do.
        SystemExit: In the helping processes of ``torchrun`` and ``accelerate launch``, once rank 0 is done.
    """
    from medbench.workers import ranks

    if ranks.is_helper():
        ranks.help_rank_zero()
        raise SystemExit(0)
    crew = _workers(workers, ray_address, gpus_per_worker)
    if ranks.launched():
        ranks.take_the_lead()
    from medbench.catalog import find_model
    from medbench.runs.execution import execute
    from medbench.runs.naming import check_names, name_plans

    check_names(names, len(models))
    settings = RunSettings(
        limit=limit,
        num_fewshot=num_fewshot,
        seed=seed,
        data_dir=str(data_dir) if data_dir is not None else None,
        data_source=data_source,
        shuffle_options=shuffle_options,
        circular=circular,
        chat_template=chat_template,
        system_prompt=system_prompt,
        thinking=thinking,
        close_thinking=close_thinking,
        max_gen_toks=max_gen_toks,
        routing=routing,
        max_batch_tokens=max_batch_tokens,
    )
    definitions = [
        find_model(
            model,
            base=base,
            dtype=dtype,
            device=device,
            quantization=quantization,
            deterministic=deterministic,
        )
        for model in models
    ]
    plans = [
        _plan(settings, definition, tasks, task_folders, allow_code=allow_code) for definition in definitions
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
            workers=crew,
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
    limit: int | None = None,
    num_fewshot: int | None = None,
    data_dir: str | Path | None = None,
    data_source: str = "auto",
    results: str | Path = "results",
    task_folders: Sequence[str | Path] = (),
    allow_code: bool = False,
    dtype: str | None = None,
    device: str | None = None,
    seed: int = 1234,
    quiet: bool = False,
) -> AblationOutcome:
    """Score tasks with the model intact and with experts taken away.

    :func:`medbench.analysis.ablation.read_ablation` reads what it leaves behind.

    Args:
        model: As for :func:`evaluate_with_outcome`; what is not named here is as for :func:`evaluate_each`.
        tasks: Tasks, groups or tags; every bundled task by default.
        variants: What to change, such as ``expert:3``, ``expert:0+1@2.gate``, ``top1``, ``off``
            (:func:`medbench.models.parse_ablation`); by default every expert in turn, and the other forms.
        sweep: Where that default knocks experts out: ``everywhere``, ``layers`` or ``linears``.
        base: See there.
        limit: See there.
        num_fewshot: See there.
        data_dir: See there.
        data_source: See there.
        results: Folder for results.
        task_folders: See there.
        allow_code: See there.
        dtype: See there.
        device: See there.
        seed: See there.
        quiet: See there.

    Raises:
        MedbenchError: The input is at fault; the message says what to do.
    """
    from medbench.catalog import find_model
    from medbench.models import parse_ablation
    from medbench.runs.ablation import ablate as run_ablation
    from medbench.runs.naming import name_plans

    chosen = None if variants is None else [parse_ablation(text) for text in variants]
    settings = RunSettings(
        limit=limit,
        num_fewshot=num_fewshot,
        seed=seed,
        data_dir=str(data_dir) if data_dir is not None else None,
        data_source=data_source,
        routing="off",
    )
    definition = find_model(model, base=base, dtype=dtype, device=device)
    plan = _plan(settings, definition, tasks, task_folders, allow_code=allow_code)
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
    limit: int | None = None,
    data_dir: str | Path | None = None,
    data_source: str = "auto",
    seed: int = 1234,
    quiet: bool = False,
) -> Traces:
    """Record what every router chooses for every token of the prompts of some tasks.

    Args:
        model: As for :func:`evaluate_with_outcome`; what is not named here is as for :func:`evaluate_each`.
        tasks: Tasks, groups or tags; every bundled task by default.
        base: See there.
        limit: See there.
        data_dir: See there.
        data_source: See there.
        seed: See there.
        quiet: See there.

    Raises:
        MedbenchError: The input is at fault; the message says what to do.
    """
    from medbench.catalog import find_model
    from medbench.runs.traces import trace as run_trace

    settings = RunSettings(
        limit=limit,
        seed=seed,
        data_dir=str(data_dir) if data_dir is not None else None,
        data_source=data_source,
        routing="off",
    )
    plan = _plan(settings, find_model(model, base=base), tasks)
    return run_trace(plan, **({} if quiet else {"message": _progress().message}))


def _plan(
    settings: RunSettings,
    model: ModelDefinition,
    tasks: Sequence[str],
    task_folders: Sequence[str | Path] = (),
    *,
    allow_code: bool = False,
) -> RunPlan:
    """Plan the tasks, all bundled ones if none is named; refuse one from outside that would be misread."""
    from medbench.checks.definitions import refuse_misread
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


def _workers(count: int | str | None, address: str | None, gpus: int) -> WorkerOptions | None:
    """Who answers; ``None``: this process alone."""
    from medbench.errors import WorkersError
    from medbench.workers import ranks
    from medbench.workers.options import WorkerOptions

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
