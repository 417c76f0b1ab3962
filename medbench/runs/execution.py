"""Carrying out a plan: load the model, evaluate task by task, write the tables, leave a run folder behind."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medbench.data.sources import SAMPLES_NOTICE
from medbench.errors import ModelError, RunError
from medbench.runs.directory import RunDirectory, find_run, new_run
from medbench.runs.files import replacing
from medbench.runs.harness import (
    TaskResult,
    evaluate_task,
    gather_requests,
    load_tasks,
    quiet_harness,
    reason,
    seed_everything,
    write_harness_files,
)
from medbench.runs.interruption import GracefulStop
from medbench.runs.logs import collect_warnings
from medbench.runs.manifest import Manifest
from medbench.runs.plan import RunPlan
from medbench.runs.progress import ProgressListener, SilentProgress
from medbench.runs.scores import group_rows, main_metric, task_rows
from medbench.runs.store import ResponseStore, StoreError
from medbench.runs.tables import ScoreRow, TaskSamples, collect_samples, samples_table, scores_table

if TYPE_CHECKING:
    from medbench.models import MedbenchLM

__all__ = ["RunOutcome", "execute"]

_STAGES = {
    "loglikelihood": "choosing among options",
    "loglikelihood_rolling": "scoring texts",
    "generate_until": "writing answers",
}


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended.

    Attributes:
        directory: Its folder.
        failures: Why tasks failed, by name; empty when all is well.
        warnings: What deserves a second look, each once.
        reused: Whether a finished run of the same plan was found and nothing was computed.
    """

    directory: RunDirectory
    failures: dict[str, str]
    warnings: tuple[str, ...] = ()
    reused: bool = False


def execute(
    plan: RunPlan,
    results: Path,
    *,
    fresh: bool = False,
    log_file: Path | None = None,
    progress: ProgressListener | None = None,
) -> RunOutcome:
    """Carry out ``plan`` below ``results``, going on with an unfinished run of the same plan.

    Args:
        plan: What to do.
        results: Folder for runs.
        fresh: Start over even where a run of the same plan exists.
        log_file: Where to write the log as JSON lines.
        progress: Hears how far the run has come.

    Raises:
        RunError: The results folder cannot be used, or no task could be evaluated.
        ModelError: The model cannot be loaded.
        KeyboardInterrupt: Passed on after the run folder was left resumable.
    """
    listener = progress or SilentProgress()
    directory = None if fresh else find_run(results, plan.model.model, plan.plan_hash)
    if directory is not None and directory.status() == "complete":
        return RunOutcome(directory, failures={}, reused=True)
    if directory is None:
        directory = new_run(results, plan.model.model, plan.plan_hash)
    else:
        listener.message(f"going on with {directory.path}")
    with directory.lock(), collect_warnings(log_file) as warnings, GracefulStop(listener.message) as stop:
        manifest = Manifest.start(directory, _plan_fields(plan))
        try:
            failures = _evaluate(plan, directory, manifest, listener, stop)
        except KeyboardInterrupt:
            manifest.finish("interrupted", {})
            raise
        except Exception as error:
            manifest.finish("failed", {"error": reason(error)})
            raise
        finally:
            listener.end()
        # That samples are samples is said once and loudly by every output; not once per dataset again.
        worth_saying = tuple(text for text in warnings if not text.endswith(SAMPLES_NOTICE))
        manifest.update({"warnings": worth_saying})
    return RunOutcome(directory, failures, worth_saying)


def _evaluate(
    plan: RunPlan,
    directory: RunDirectory,
    manifest: Manifest,
    listener: ProgressListener,
    stop: GracefulStop,
) -> dict[str, str]:
    started = time.monotonic()
    seed_everything(plan.settings.seed)
    names = [task.name for task in plan.tasks if task.name not in plan.failures]
    failures = {name: reason(error) for name, error in plan.failures.items()}
    finished: list[TaskResult] = []
    samples: list[TaskSamples] = []
    scored: list[ScoreRow] = []
    with quiet_harness(), ResponseStore(directory.responses, model=plan.answer_identity) as store:
        if store.set_aside is not None:
            listener.message(
                f"the stored answers were damaged; set aside as {store.set_aside.name}, starting over"
            )
        tasks, broken = load_tasks(names, plan.folders, plan.settings)
        if broken and not tasks:
            raise next(iter(broken.values()))
        failures |= {name: reason(error) for name, error in broken.items()}
        lm = _open_model(plan, store, listener, stop)
        _answer(plan, lm, tasks, listener)
        for name, task in tasks.items():
            try:
                result = evaluate_task(
                    lm, task, plan.settings, chat_template=plan.chat_template, system=plan.system_prompt
                )
                documents = collect_samples(task, result.samples, main_metric(task))
                rows = task_rows(
                    result,
                    documents,
                    data_source=_source_kind(plan, name),
                    seed=plan.settings.seed,
                    circular=plan.settings.circular,
                )
            except StoreError:
                raise  # no task can go on without it
            except Exception as error:  # noqa: BLE001 - a task's own code may raise anything; it is reported by name
                failures[name] = reason(error)
                listener.message(f"{name} failed: {failures[name]}")
                continue
            finished.append(result)
            samples.append(documents)
            scored.extend(rows)
        routing = list(store.routing())
        model_info = lm.get_model_info()
    if not finished:
        raise RunError(
            "no task could be evaluated",
            where=str(directory.path),
            hint="\n".join(f"{name}: {why}" for name, why in failures.items()),
        )
    kinds = {source.kind for source in plan.sources.values()}
    scored.extend(
        group_rows(plan.groups, scored, {"data_source": kinds.pop() if len(kinds) == 1 else "mixed"})
    )
    _write_tables(directory, samples, scored, routing)
    write_harness_files(directory.harness, finished, model_info)
    manifest.finish(
        "partial" if failures else "complete",
        {
            "failures": failures,
            "model_info": model_info,
            "documents": sum(len(part.rows) for part in samples),
            "seconds": round(time.monotonic() - started, 3),
            "tasks_done": [result.name for result in finished],
        },
    )
    return failures


def _answer(plan: RunPlan, lm: MedbenchLM, tasks: Mapping[str, Any], listener: ProgressListener) -> None:
    """Have the model answer the requests of all tasks; requests that fail are met again by their task."""
    requests = gather_requests(
        lm, tasks, plan.settings, chat_template=plan.chat_template, system=plan.system_prompt
    )
    documents = {
        kind: len({(instance.task_name, instance.doc_id) for instance in instances})
        for kind, instances in requests.items()
    }
    listener.begin(sum(documents.values()))
    for kind, instances in requests.items():
        listener.stage(_STAGES.get(kind, kind), documents[kind])
        try:
            getattr(lm, kind)(instances)
        except ModelError as error:
            listener.message(f"some requests could not be answered: {error}")
    listener.stage("scoring", 0)


def _source_kind(plan: RunPlan, name: str) -> str:
    """Where the documents of a task come from; ``task`` for one that brings its own."""
    dataset = next(task.dataset for task in plan.tasks if task.name == name)
    return plan.sources[dataset].kind if dataset in plan.sources else "task"


def _open_model(
    plan: RunPlan, store: ResponseStore, listener: ProgressListener, stop: GracefulStop
) -> MedbenchLM:
    from medbench.models import MedbenchLM, load_model, load_tokenizer

    definition = plan.model

    def after_batch(fraction: float) -> None:
        listener.advance(fraction)
        stop.check()

    listener.message(f"loading {definition.model}")
    model = load_model(
        definition.path,
        definition.base,
        dtype=definition.dtype,
        device=definition.device,
        layout=definition.layout,
        revision=definition.revision,
        base_revision=definition.base_revision,
    )
    budget = plan.settings.max_batch_tokens or definition.engine.get("max_batch_tokens", "auto")
    return MedbenchLM(
        model=model,
        tokenizer=load_tokenizer(definition.path, base=definition.base),
        max_batch_tokens=budget,
        store=store,
        routing=plan.settings.routing,
        seed=plan.settings.seed,
        progress=after_batch,
    )


def _write_tables(
    directory: RunDirectory,
    samples: Sequence[TaskSamples],
    scored: Sequence[ScoreRow],
    routing: Sequence[Any],
) -> None:
    import pyarrow.parquet as pq

    with replacing(directory.samples) as temporary:
        pq.write_table(samples_table(samples), temporary, compression="zstd")
    with replacing(directory.scores) as temporary:
        pq.write_table(scores_table(scored), temporary, compression="zstd")
    if routing:
        total = routing[0]
        for counts in routing[1:]:
            total = total + counts
        with replacing(directory.routing) as temporary:
            total.to_frame().to_parquet(temporary, compression="zstd", index=False)


def _plan_fields(plan: RunPlan) -> dict[str, Any]:
    return {
        "model": plan.model.model,
        "model_definition": plan.model.to_dict(),
        "fingerprint": plan.fingerprint,
        "plan_hash": plan.plan_hash,
        "settings": plan.settings.identity()
        | {"data_source": plan.settings.data_source, "max_batch_tokens": plan.settings.max_batch_tokens},
        "chat_template": plan.chat_template,
        "system_prompt": plan.system_prompt,
        "tasks": {task.name: {"version": task.version, "digest": task.digest} for task in plan.tasks},
        "groups": {group.name: list(group.members) for group in plan.groups},
        "data": {name: _without_place(asdict(source)) for name, source in plan.sources.items()},
    }


def _without_place(source: dict[str, Any]) -> dict[str, Any]:
    """A data source without the folder it lies in, which is nobody's business but its owner's."""
    return {name: value for name, value in source.items() if name != "root"}
