"""lm-eval as the substrate: loading tasks, evaluating one at a time, and writing its own result files.

The requests of all tasks are answered together, in common batches, into the response store. Then each task is
evaluated by itself through :func:`lm_eval.evaluator.evaluate`, its answers coming from the store: a task that
fails takes no other with it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from medbench.errors import MedbenchError, RunError
from medbench.runs.askable import settle_documents
from medbench.runs.caching import fresh_datasets
from medbench.runs.files import replacing, write_json
from medbench.runs.privacy import scrub_values
from medbench.runs.settings import RunSettings

__all__ = [
    "TaskResult",
    "evaluate_task",
    "load_tasks",
    "quiet_harness",
    "reason",
    "seed_everything",
    "write_harness_files",
]


_LOG = logging.getLogger(__name__)

_PLACES = frozenset({"config_source", "data_dir", "tasks_dirs"})


@dataclass(frozen=True)
class TaskResult:
    """What lm-eval returned for one task.

    Attributes:
        task: The lm-eval task object.
        results: lm-eval's results dictionary, without the samples.
        samples: The logged samples of the task's first filter pipeline, in document order.
        filter: Name of that pipeline.
    """

    task: Any
    results: dict[str, Any]
    samples: list[dict[str, Any]]
    filter: str

    @property
    def name(self) -> str:
        """The task's name."""
        return str(self.task.config.task)


@contextmanager
def quiet_harness(*, allow_code: bool = False) -> Iterator[None]:
    """Use lm-eval without its progress bars and informational logging, and with templates in a sandbox.

    Nor does `datasets` give out what it cached of files and code that have changed since.

    Args:
        allow_code: Whether tasks may do as they please, so that lm-eval renders their templates itself.
    """
    import lm_eval.api.task as module

    logger = logging.getLogger("lm_eval")
    level, bar = logger.level, module.tqdm
    logger.setLevel(logging.ERROR)
    # tqdm reads its environment variable when it is first imported, long before this may be called.
    module.tqdm = partial(bar, disable=True)
    try:
        with fresh_datasets(), nullcontext() if allow_code else _sandboxed_templates():
            yield
    finally:
        logger.setLevel(level)
        module.tqdm = bar


@contextmanager
def _sandboxed_templates() -> Iterator[None]:
    """Have lm-eval compile templates in the sandbox; ``apply_template`` looks its environment up by name."""
    import lm_eval.utils as module

    from medbench.catalog.sandbox import TemplateSandbox

    own = module.env
    module.env = TemplateSandbox()
    try:
        yield
    finally:
        module.env = own


def load_tasks(
    names: Sequence[str], folders: Sequence[Path], settings: RunSettings
) -> tuple[dict[str, Any], dict[str, Exception]]:
    """Instantiate lm-eval tasks with their documents.

    Args:
        names: Leaf task names.
        folders: Folders with task YAMLs, the shipped one first.
        settings: Settings of the run; data settings reach ``medbench.data.load`` as metadata.

    Returns:
        The tasks by name, and the failures by name.
    """
    # Both must be imported before anything else registers, or the built-in metrics and models vanish.
    import lm_eval.api.metrics
    import lm_eval.models  # noqa: F401
    from lm_eval.tasks import TaskManager

    from medbench.catalog.index import build_index

    metadata = {
        "data_dir": settings.data_dir,
        "data_source": settings.data_source,
        "shuffle_options": settings.shuffle_options,
        "circular": settings.circular,
    }
    # Each task by its file: lm-eval's own search takes a later file of the same name, and reads files that
    # the catalog, whose definitions were judged, leaves out.
    definitions = build_index(folders[1:]).tasks
    manager = TaskManager(include_defaults=False, metadata=metadata)
    tasks: dict[str, Any] = {}
    failures: dict[str, Exception] = {}
    for name in names:
        try:
            task = manager.load([str(definitions[name].path)])["tasks"][name]
            _set_fewshot(task, settings)
            settle_documents(task, settings, definitions)
            tasks[name] = task
        except Exception as error:  # noqa: BLE001 - a task's own code may raise anything; it is reported by name
            failures[name] = error
    return tasks, failures


def gather_requests(
    lm: Any, tasks: Mapping[str, Any], settings: RunSettings, *, chat_template: bool, system: str | None
) -> dict[str, list[Any]]:
    """Build the requests of all tasks, by kind, so that they can be answered in common batches.

    A task whose requests cannot be built is left out here; :func:`evaluate_task` meets its error again.

    Returns:
        lm-eval instances by the method of ``lm`` that answers them.
    """
    requests: dict[str, list[Any]] = {}
    for name, task in tasks.items():
        seed_everything(settings.seed)
        try:
            task.build_all_requests(
                limit=None if (chosen := _documents(task, settings)) else settings.limit,
                samples=chosen,
                system_instruction=system or None,
                apply_chat_template=chat_template,
                fewshot_as_multiturn=chat_template,
                chat_template=lm.apply_chat_template if chat_template else None,
                tokenizer_name=lm.tokenizer_name if chat_template else "",
            )
        except Exception as error:  # noqa: BLE001 - a task's own code may raise anything
            _LOG.debug("the requests of %s cannot be built: %s", name, error)
            continue
        for instance in task.instances:
            requests.setdefault(instance.request_type, []).extend([instance] * instance.repeats)
    return requests


def evaluate_task(
    lm: Any, task: Any, settings: RunSettings, *, chat_template: bool, system: str | None
) -> TaskResult:
    """Build the requests of one task, have ``lm`` answer them, and score the answers."""
    from lm_eval.evaluator import evaluate

    name = task.config.task
    seed_everything(settings.seed)
    chosen = _documents(task, settings)
    results: dict[str, Any] = evaluate(
        lm=lm,
        task_dict={"tasks": {name: task}, "groups": {}, "group_map": {}},
        limit=None if chosen else settings.limit,
        samples={name: chosen} if chosen else None,
        bootstrap_iters=0,  # intervals are medbench.statistics' work
        log_samples=True,
        system_instruction=system or None,
        apply_chat_template=chat_template,
        fewshot_as_multiturn=chat_template,
    )
    samples = results.pop("samples")[name]
    if not samples:
        raise RunError("the task has no documents", where=name)
    first = samples[0]["filter"]
    ordered = sorted((s for s in samples if s["filter"] == first), key=lambda s: s["doc_id"])
    return TaskResult(task=task, results=results, samples=ordered, filter=first)


def seed_everything(seed: int) -> None:
    """Seed the global generators that tasks and the harness may draw from."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def write_harness_files(folder: Path, finished: Sequence[TaskResult], config: Mapping[str, Any]) -> None:
    """Write ``results_<date>.json`` and ``samples_<task>_<date>.jsonl`` as lm-eval itself does."""
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")
    merged: dict[str, Any] = {}
    hashes = {}
    for result in finished:
        for key, value in result.results.items():
            if isinstance(value, dict):
                merged.setdefault(key, {}).update(value)
        parts = "".join(s["doc_hash"] + s["prompt_hash"] + s["target_hash"] for s in result.samples)
        hashes[result.name] = hashlib.sha256(parts.encode("utf-8")).hexdigest()
    merged |= {"config": dict(config), "task_hashes": hashes, "date": time.time()}
    write_json(folder / f"results_{stamp}.json", scrub_values(_without_places(merged)))
    for result in finished:
        with (
            replacing(folder / f"samples_{result.name}_{stamp}.jsonl") as temporary,
            temporary.open("w", encoding="utf-8") as lines,
        ):
            for sample in result.samples:
                lines.write(json.dumps(_as_lm_eval_writes(sample), ensure_ascii=False, default=str) + "\n")


def _set_fewshot(task: Any, settings: RunSettings) -> None:
    count = (
        settings.num_fewshot if settings.num_fewshot is not None else (task.get_config("num_fewshot") or 0)
    )
    if count and not (task.config.fewshot_split or (task.config.fewshot_config and task.fewshot_cfg.samples)):
        raise RunError(
            "the task has no examples set apart for few-shot prompts",
            where=task.config.task,
            hint="use --num-fewshot 0; examples drawn from the test documents would leak answers",
        )
    if count and (available := len(task.fewshot_docs())) < count:
        raise RunError(
            f"{count} examples were asked for, but the task has {available}",
            where=task.config.task,
            hint=f"use --num-fewshot {available} or fewer",
        )
    task.set_config("num_fewshot", count)
    task.set_fewshot_seed(settings.seed)


def _documents(task: Any, settings: RunSettings) -> list[int] | None:
    """Indices of every rotation of the first questions; ``None`` where the limit itself will do."""
    documents = task.eval_docs
    if not settings.circular or settings.limit is None or "origin" not in documents.features:
        return None
    wanted = set(list(dict.fromkeys(documents["origin"]))[: settings.limit])
    return [index for index, origin in enumerate(documents["origin"]) if origin in wanted]


def _as_lm_eval_writes(sample: Mapping[str, Any]) -> dict[str, Any]:
    arguments = {
        f"gen_args_{i}": {f"arg_{j}": value for j, value in enumerate(arguments)}
        for i, arguments in enumerate(sample["arguments"])
    }
    return {**sample, "arguments": arguments, "target": str(sample["target"])}


def _without_places(value: Any) -> Any:
    """Results without the settings that only say where files lie on this machine."""
    if isinstance(value, Mapping):
        return {key: _without_places(item) for key, item in value.items() if key not in _PLACES}
    return value


def reason(error: Exception) -> str:
    """One line that says why a task failed."""
    if isinstance(error, MedbenchError):
        return str(error)
    return f"{type(error).__name__}: {error}"
