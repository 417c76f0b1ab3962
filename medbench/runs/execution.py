"""Carrying out a plan: load the model, evaluate task by task, write the tables, leave a run folder behind."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medbench.data.sources import SAMPLES_NOTICE
from medbench.errors import MedbenchError, RunError
from medbench.models.checkpoints.chat import clock_at
from medbench.runs.answering import answer_alone, answer_with_workers, open_stored
from medbench.runs.directory import RunDirectory, find_run, new_run, read_json, safe_name, write_json
from medbench.runs.engines import EngineNotes
from medbench.runs.extras import extra, reason
from medbench.runs.harness import TaskResult, evaluate_task, quiet_harness, write_harness_files
from medbench.runs.interruption import GracefulStop
from medbench.runs.loading import load_tasks, seed_everything
from medbench.runs.logs import RunWarnings, collect_warnings
from medbench.runs.manifest import Manifest
from medbench.runs.naming import checkpoint_place
from medbench.runs.plan import RunPlan
from medbench.runs.privacy import name_only
from medbench.runs.progress import ProgressListener, SilentProgress
from medbench.runs.rescoring import asked_alike, copy_answers, find_answered, more_answered
from medbench.runs.routing import stored_routing
from medbench.runs.scores import group_rows, score_task
from medbench.runs.settings import recorded_engine
from medbench.runs.store import ResponseStore, StoreError
from medbench.runs.tables import ScoreRow, TaskSamples, write_tables
from medbench.runs.traces import traced_vocabulary

if TYPE_CHECKING:
    from medbench.models import StoredLM
    from medbench.workers.cluster import WorkerOptions

_LOG = logging.getLogger(__name__)


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
    rescore: bool = False,
    log_file: Path | None = None,
    progress: ProgressListener | None = None,
    workers: WorkerOptions | None = None,
) -> RunOutcome:
    """Carry out ``plan`` below ``results``, going on with an unfinished run of the same plan.

    Args:
        plan: What to do.
        results: Folder for runs.
        fresh: Start over even where a run of the same plan exists.
        rescore: Score the answers of the newest finished run of the same model anew, in a run of its own and
            without loading the model.
        log_file: Where to write the log as JSON lines.
        progress: Hears how far the run has come.
        workers: Who answers the requests; ``None``: this process.

    Raises:
        RunError: The results folder cannot be used, no task could be evaluated, or nothing can be rescored.
        ModelError: The model cannot be loaded, or not on its device.
        WorkersError: Workers cannot be started, or none is left.
        KeyboardInterrupt: Passed on after the run folder was left resumable.
    """
    from medbench.models.checkpoints.devices import open_device

    listener = progress or SilentProgress()
    if fresh and rescore:
        raise RunError(
            "a run cannot both ask anew and score stored answers",
            where="--fresh and --rescore",
            hint="leave one of them away",
        )
    answered = find_answered(plan, results) if rescore else None
    if answered is not None and plan.moment is not None and answered[1].get("moment"):
        plan = replace(plan, moment=datetime.fromisoformat(answered[1]["moment"]))  # that of the prompts
    directory = None
    if not fresh and not rescore:
        directory, plan = find_begun(plan, results)
    if directory is not None and directory.status() == "complete":
        return _reused(directory)
    if answered is None and workers is None:
        open_device(plan.model.device)  # rather than when all is ready but the model
    if directory is None:
        directory = new_run(results, plan.model.model, plan.plan_hash)
    else:
        listener.message(f"going on with {directory.path}")
    fields = _plan_fields(plan)
    if answered is not None:
        source, earlier = answered
        listener.message(f"scoring the answers of {source.path}")
        fields["rescored_from"] = source.run_id
        fields["settings"] |= recorded_engine(earlier)
    with directory.lock(), clock_at(plan.moment), GracefulStop(listener.message) as stop:
        if directory.status() == "complete":  # by another process, between the look and the lock
            return _reused(directory)
        directory.sweep()
        manifest = Manifest.start(directory, fields)

        lasting = earlier.get("lasting_warnings", {}) if answered else manifest.fields["lasting_warnings"]
        warnings = RunWarnings(lasting, by_workers=workers is not None)

        def keep() -> None:
            manifest.update({"warnings": _worth_saying(warnings), "lasting_warnings": warnings.lasting})

        keep()
        with collect_warnings(log_file, warnings=warnings, on_new=keep):
            try:
                if answered is not None:
                    copy_answers(source, directory)
                    if not asked_alike(earlier, fields):
                        _LOG.warning("routing is left out: %s had other tasks or settings", source.run_id)
                        plan = replace(plan, settings=replace(plan.settings, routing="off"))
                outcome = _evaluate(
                    plan,
                    directory,
                    listener,
                    stop,
                    stored=answered is not None,
                    workers=workers,
                    manifest=manifest,
                )
            except KeyboardInterrupt:
                _close(manifest, "interrupted", {})
                raise
            except Exception as error:
                _LOG.error("%s", reason(error), exc_info=not isinstance(error, MedbenchError))
                _close(manifest, "failed", {"error": reason(error)})
                raise
            finally:
                listener.end()
            failures, ended = outcome
            manifest.finish("partial" if failures else "complete", ended)
        return RunOutcome(directory, failures, _worth_saying(warnings))


def _reused(directory: RunDirectory) -> RunOutcome:
    warnings = tuple(read_json(directory.manifest).get("warnings", ()))
    return RunOutcome(directory, failures={}, warnings=warnings, reused=True)


def _worth_saying(warnings: Iterable[str]) -> tuple[str, ...]:
    # That samples are samples is said once and loudly by every output; not once per dataset again.
    return tuple(text for text in warnings if not text.endswith(SAMPLES_NOTICE))


def _close(manifest: Manifest, status: str, fields: Mapping[str, Any]) -> None:
    """Record how a broken attempt ended, if the disk still takes it; the error itself matters more."""
    with suppress(RunError):
        manifest.finish(status, fields)


def _evaluate(
    plan: RunPlan,
    directory: RunDirectory,
    listener: ProgressListener,
    stop: GracefulStop,
    *,
    stored: bool,
    workers: WorkerOptions | None,
    manifest: Manifest,
) -> tuple[dict[str, str], dict[str, Any]]:
    """Evaluate all tasks and write the tables; return why tasks failed, and what to record of the run."""
    started = time.monotonic()
    seed_everything(plan.settings.seed)
    runnable = [task for task in plan.tasks if task.name not in plan.failures]
    failures = {name: reason(error) for name, error in plan.failures.items()}
    finished: list[TaskResult] = []
    samples: list[TaskSamples] = []
    scored: list[ScoreRow] = []
    with (
        quiet_harness(allow_code=plan.allow_code),
        ResponseStore(directory.responses, model=plan.answer_identity) as store,
    ):
        if store.set_aside is not None:
            text = (
                f"the stored answers were damaged; set aside as {store.set_aside.name}, all were asked again"
            )
            listener.message(text)
            _LOG.warning("%s", text, extra={"lasting": True})
        tasks, broken = load_tasks(runnable, plan.settings)
        if broken and not tasks:
            raise _why_none(broken)
        failures |= {name: reason(error) for name, error in broken.items()}
        lm: StoredLM
        note_engine = EngineNotes(manifest, answered=len(store) > 0)
        if stored:
            lm = open_stored(plan, store)
        elif workers is None:
            lm = answer_alone(plan, store, tasks, listener, stop, note_engine=note_engine)
        else:
            lm = answer_with_workers(
                plan,
                store,
                tasks,
                listener,
                stop,
                workers=workers,
                note=manifest.note_attempt,
                note_engine=note_engine,
            )
        for name, task in tasks.items():
            stop.check()
            try:
                result = evaluate_task(
                    lm, task, plan.settings, chat_template=plan.chat_template, system=plan.system_prompt
                )
                documents, rows = score_task(
                    result,
                    data_source=_source_kind(plan, name),
                    seed=plan.settings.seed,
                    circular=plan.settings.circular,
                )
            except StoreError:
                raise  # no task can go on without it
            except Exception as error:  # noqa: BLE001 - a task's own code may raise anything; it is reported by name
                failures[name] = reason(error)
                _LOG.error("%s failed", name, exc_info=True)
                listener.message(f"{name} failed: {failures[name]}")
                continue
            finished.append(result)
            samples.append(documents)
            scored.extend(rows)
        model_info = lm.get_model_info()
        routing, vocabulary = None, None
        traced = plan.settings.routing
        if stored and not failures and more_answered(lm, store):
            _LOG.warning("routing is left out: the stored answers are to more requests than were scored")
            traced = "off"
        if traced != "off":
            with extra("routing"):
                routing = stored_routing(store)
        if traced == "tokens":
            with extra("the vocabulary of traced tokens"):
                vocabulary = traced_vocabulary(store, lm.tokenizer, [result.name for result in finished])
    if not finished:
        raise RunError(
            "no task could be evaluated",
            where=str(directory.path),
            hint="\n".join(f"{name}: {why}" for name, why in failures.items()),
        )
    with extra("the average of groups"):
        scored.extend(group_rows(plan.groups, scored))
    directory.clear_tables()
    with extra("what lm-eval itself would write"):
        write_harness_files(directory.harness, finished, model_info)
    if vocabulary is not None:
        write_json(directory.vocabulary, vocabulary)
    write_tables(directory, samples, scored, routing)
    return failures, {
        "failures": failures,
        "model_info": model_info,
        "documents": sum(len(part.rows) for part in samples),
        "seconds": round(time.monotonic() - started, 3),
        "tasks_done": [result.name for result in finished],
    }


def _why_none(broken: Mapping[str, Exception]) -> MedbenchError:
    """The error to end with when not one task could be loaded."""
    name, error = next(iter(broken.items()))
    if isinstance(error, MedbenchError):
        return error
    return RunError(
        f"the task cannot be loaded: {reason(error)}", where=name, hint="`medbench tasks check` says more"
    )


def _source_kind(plan: RunPlan, name: str) -> str:
    """Where the documents of a task come from; ``task`` for one that brings its own."""
    task = next(task for task in plan.tasks if task.name == name)
    known = plan.sources.get(task.dataset or "") if task.own_data else None
    return "task" if known is None else known.kind


def _plan_fields(plan: RunPlan) -> dict[str, Any]:
    return {
        "model": plan.model.model,
        "model_definition": plan.model.to_dict()
        | {"path": name_only(plan.model.path), "base": name_only(plan.model.base)},
        "checkpoint": checkpoint_place(plan.model.path),
        "fingerprint": plan.fingerprint,
        "answer_identity": plan.answer_identity,
        "plan_hash": plan.plan_hash,
        "settings": plan.settings_used(),
        "moment": plan.moment.isoformat() if plan.moment and plan.clock else None,
        "clock": plan.clock,
        "chat_template": plan.chat_template,
        "system_prompt": plan.system_prompt,
        "tasks": {task.name: {"version": task.version, "digest": task.digest} for task in plan.tasks},
        "groups": {group.name: list(group.members) for group in plan.groups},
        "data": {name: _without_place(asdict(source)) for name, source in plan.sources.items()},
    }


def _without_place(source: dict[str, Any]) -> dict[str, Any]:
    """A data source without the folder it lies in, which is nobody's business but its owner's."""
    return {name: value for name, value in source.items() if name != "root"}


def find_begun(plan: RunPlan, results: Path) -> tuple[RunDirectory | None, RunPlan]:
    """Find the run of a plan, finished or not, and the plan as that run began.

    Where the chat template asks for the time, a plan is another on every day; a run that broke off goes on
    with the time of its start all the same.
    """
    directory = find_run(results, plan.model.model, plan.plan_hash)
    if directory is not None or not plan.clock:
        return directory, plan
    for file in sorted((results / safe_name(plan.model.model)).glob("*/run.json"), reverse=True):
        begun = RunDirectory(file.parent)
        try:
            manifest = read_json(file)
            then = datetime.fromisoformat(manifest["moment"])
        except (RunError, KeyError, TypeError, ValueError):
            continue  # a run without a clock, or one that cannot be read
        earlier = replace(plan, moment=then)
        if earlier.plan_hash == manifest.get("plan_hash") and begun.status() != "complete":
            return begun, earlier
    return None, plan
