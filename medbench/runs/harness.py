"""lm-eval as the substrate: evaluating tasks one at a time, and writing its own result files.

The requests of all tasks are answered together, in common batches, into the response store. Then each task is
evaluated by itself through :func:`lm_eval.evaluator.evaluate`, its answers coming from the store: a task that
fails takes no other with it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from medbench.common.files import sha256_of
from medbench.errors import RunError
from medbench.runs.directory import replacing, safe_name, write_json
from medbench.runs.loading import rewind
from medbench.runs.privacy import scrub_values
from medbench.runs.settings import RunSettings

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
        further: Those of its other pipelines, by name.
    """

    task: Any
    results: dict[str, Any]
    samples: list[dict[str, Any]]
    filter: str
    further: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The task's name."""
        return str(self.task.config.task)

    @property
    def scores(self) -> Mapping[str, Any]:
        """lm-eval's scores by ``metric,filter``, among them its name, alias and number of documents."""
        found: Mapping[str, Any] = self.results["results"][self.name]
        return found


@contextmanager
def quiet_harness(*, allow_code: bool = False) -> Iterator[None]:
    """Use lm-eval without its progress bars and informational logging, and with templates in a sandbox.

    Nor does `datasets` give out what it cached of files and code that have changed since.

    Args:
        allow_code: Whether tasks may do as they please, so that lm-eval renders their templates itself.
    """
    import datasets
    import lm_eval.api.task as module

    logger = logging.getLogger("lm_eval")
    level, bar = logger.level, module.tqdm
    bars = datasets.utils.logging.is_progress_bar_enabled()
    logger.setLevel(logging.ERROR)
    # tqdm reads its environment variable when it is first imported, long before this may be called.
    module.tqdm = partial(bar, disable=True)
    datasets.disable_progress_bars()
    try:
        with _fresh_datasets(), nullcontext() if allow_code else _sandboxed_templates():
            yield
    finally:
        logger.setLevel(level)
        module.tqdm = bar
        if bars:
            datasets.enable_progress_bars()


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
        rewind(task, settings)
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
    rewind(task, settings)
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
        confirm_run_unsafe_code=True,  # a task that asks for it was let in with --allow-code
    )
    samples = results.pop("samples")[name]
    if not samples:
        raise RunError("the task has no documents", where=name)
    pipelines: dict[str, list[dict[str, Any]]] = {}
    for sample in samples:
        pipelines.setdefault(sample["filter"], []).append(sample)
    for logged in pipelines.values():
        logged.sort(key=lambda sample: int(sample["doc_id"]))
    first, *others = pipelines
    return TaskResult(task, results, pipelines[first], first, {name: pipelines[name] for name in others})


def write_harness_files(folder: Path, finished: Sequence[TaskResult], config: Mapping[str, Any]) -> None:
    """Write ``results_<date>.json`` and ``samples_<task>_<date>.jsonl`` as lm-eval itself does."""
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")
    merged: dict[str, Any] = {}
    hashes = {}
    for result in finished:
        for key, value in result.results.items():
            if isinstance(value, dict):
                merged.setdefault(key, {}).update(value)
        parts = "".join(s["doc_hash"] + s["prompt_hash"] + s["target_hash"] for s in _logged(result))
        hashes[result.name] = hashlib.sha256(parts.encode("utf-8")).hexdigest()
    merged |= {"config": dict(config), "task_hashes": hashes, "date": time.time()}
    write_json(folder / f"results_{stamp}.json", scrub_values(_without_places(merged)))
    for result in finished:
        with (
            replacing(folder / f"samples_{safe_name(result.name)}_{stamp}.jsonl") as temporary,
            temporary.open("w", encoding="utf-8", errors="backslashreplace") as lines,
        ):
            for sample in _logged(result):
                lines.write(json.dumps(_as_lm_eval_writes(sample), ensure_ascii=False, default=str) + "\n")


def _logged(result: TaskResult) -> Iterator[dict[str, Any]]:
    """The samples of all pipelines, one pipeline after the other, as lm-eval lists them."""
    yield from result.samples
    for samples in result.further.values():
        yield from samples


def _documents(task: Any, settings: RunSettings) -> list[int] | None:
    """Indices of every rotation of the first questions; ``None`` where the limit itself will do."""
    if not settings.circular or settings.limit is None:
        return None
    documents = task.eval_docs
    if "origin" not in getattr(documents, "features", ()):
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


@contextmanager
def _fresh_datasets() -> Iterator[None]:
    """Let `datasets` know local files by their content, too, and map functions anew.

    It knows local files by their path and time of change alone, and the result of a function that a task maps
    over its documents by the function alone, not by what that reads or imports. A file restored with its old
    time, or an edited helper, would give the documents of then.
    """
    import datasets
    from datasets import data_files

    known = data_files._get_single_origin_metadata
    enabled = datasets.is_caching_enabled()

    def with_content(data_file: str, *arguments: Any, **keywords: Any) -> Any:
        found = known(data_file, *arguments, **keywords)
        path = Path(data_file.removeprefix("file://"))
        return (*found, sha256_of(path)) if "://" not in str(path) and path.is_file() else found

    data_files._get_single_origin_metadata = with_content
    datasets.disable_caching()
    try:
        yield
    finally:
        data_files._get_single_origin_metadata = known
        if enabled:
            datasets.enable_caching()
