"""Scoring a model again and again with its routers changed, on the same documents.

The results lie in ``results/<model>/ablation.<plan hash>/``: ``ablation.json`` says what was done, and
``documents.parquet`` holds a row per variant, task and document (docs/routing.md). The model is loaded and
the requests are built once. The file is replaced after every variant: the same command goes on where it
stopped, and further variants join those that are there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from medbench.errors import MedbenchError, RunError
from medbench.models.checkpoints.chat import clock_at
from medbench.runs.directory import RunDirectory, read_json, replacing, safe_name, write_json
from medbench.runs.extras import reason
from medbench.runs.harness import evaluate_task, gather_requests, quiet_harness
from medbench.runs.loading import load_tasks, seed_everything
from medbench.runs.metrics import main_metric
from medbench.runs.plan import RunPlan
from medbench.runs.progress import ProgressListener, SilentProgress
from medbench.runs.protocol import model_source
from medbench.runs.routing import need_router_modules
from medbench.runs.tables import collect_samples
from medbench.runs.values import column_of
from medbench.statistics.sufficient import AGGREGATIONS

if TYPE_CHECKING:
    from medbench.models import Ablation, MedbenchLM

#: The variant in which nothing is changed.
INTACT = "intact"

# Columns of a metric's values by their kind.
_KINDS = {"metric": "value", "counts": "counts", "labels": "labels"}

_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("variant", "task", "language", "family", "metric", "aggregation")),
        ("higher_is_better", pa.bool_()),
        ("document", pa.string()),
        ("cluster", pa.string()),
        ("value", pa.float64()),
        ("counts", pa.list_(pa.int64())),
        ("labels", pa.list_(pa.string())),
    ]
)
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class AblationOutcome:
    """What an ablation left behind.

    Attributes:
        path: Its folder.
        documents: ``documents.parquet`` in it.
        failures: Why tasks could not be scored, by name.
        seconds: Time of each variant computed this time.
        sampled: Whether documents come from the bundled samples.
    """

    path: Path
    documents: Path
    failures: dict[str, str]
    seconds: dict[str, float]
    sampled: bool


def ablate(
    plan: RunPlan,
    ablations: Sequence[Ablation] | None,
    results: Path,
    *,
    where: str = "everywhere",
    progress: ProgressListener | None = None,
) -> AblationOutcome:
    """Score the tasks of a plan with the model intact and in every variant asked for.

    Args:
        plan: Model, tasks and settings; router choices are not recorded.
        ablations: What to change; ``None``: every expert in turn and the other forms
            (:func:`medbench.models.sweep`).
        results: Folder for results.
        where: Where the knock-outs of a sweep apply.
        progress: Hears what is being computed.

    Raises:
        ModelError: The model has no routers, or not those that are named; nothing was computed.
        RunError: No task could be scored, or the folder cannot be written.
    """
    from medbench.models import ablated, sweep

    listener = progress or SilentProgress()
    plan = replace(plan, settings=replace(plan.settings, routing="off"))
    listener.message(f"loading {plan.model.model}")
    source = model_source(plan.model)
    if ablations is None or all(ablation.form != "off" for ablation in ablations):
        need_router_modules(source)
    model = source.model()
    chosen = list(ablations) if ablations is not None else sweep(model, where)
    for ablation in chosen:
        with ablated(model, ablation):
            pass  # every name is tried before anything is computed
    folder = results / safe_name(plan.model.model) / f"ablation.{plan.plan_hash[:10]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"the folder cannot be made: {error.strerror or error}", where=str(folder)) from error
    with RunDirectory(folder).lock(), clock_at(plan.moment), quiet_harness(allow_code=plan.allow_code):
        scorer = _Scorer(plan, model)
        table, file = _done(folder), folder / "documents.parquet"
        seconds: dict[str, float] = {}
        variants: list[Ablation | None] = [None, *dict.fromkeys(chosen)]
        known = set(table["variant"].to_pylist()) if table is not None else set()
        for number, variant in enumerate(variants, start=1):
            name = str(variant or INTACT)
            if name in known:
                continue
            listener.message(f"{number}/{len(variants)}: {name}")
            started = time.monotonic()
            with ablated(model, variant):
                rows = scorer.score(name)
            seconds[name] = round(time.monotonic() - started, 3)
            table = _append(table, rows)
            _write(file, table)
            _describe(folder, plan, scorer.engine, seconds, scorer.failures)
    sampled = any(source.kind == "samples" for source in plan.sources.values())
    return AblationOutcome(folder, file, scorer.failures, seconds, sampled)


class _Scorer:
    """Tasks with their requests, to be answered by one model in several states."""

    def __init__(self, plan: RunPlan, model: Any) -> None:
        self._plan = plan
        self._model = model
        self._tokenizer = model_source(plan.model).tokenizer()
        self.engine: dict[str, Any] = {}  # what was recorded of it, as settings of a run
        runnable = [task for task in plan.tasks if task.name not in plan.failures]
        self.failures = {name: reason(error) for name, error in plan.failures.items()}
        self._tasks, broken = load_tasks(runnable, plan.settings)
        self.failures |= {name: reason(error) for name, error in broken.items()}
        self._requests = gather_requests(
            self._lm(),
            self._tasks,
            plan.settings,
            chat_template=plan.chat_template,
            system=plan.system_prompt,
        )

    def score(self, variant: str) -> list[dict[str, Any]]:
        """Rows of one variant.

        Raises:
            RunError: No task could be scored.
        """
        plan, lm = self._plan, self._lm()
        seed_everything(plan.settings.seed)
        for kind, instances in self._requests.items():
            getattr(lm, kind)(instances)
        rows = []
        for name, task in self._tasks.items():
            if name in self.failures:
                continue
            try:
                result = evaluate_task(
                    lm, task, plan.settings, chat_template=plan.chat_template, system=plan.system_prompt
                )
                rows += _rows(variant, task, result.samples)
            except Exception as error:  # noqa: BLE001 - a task's own code may raise anything; it is reported by name
                self.failures[name] = reason(error)
                _LOG.error("%s failed", name, exc_info=not isinstance(error, MedbenchError))
        if not rows:
            raise RunError("no task could be scored", where=variant, hint="\n".join(self.failures.values()))
        return rows

    def _lm(self) -> MedbenchLM:
        from medbench.models import MedbenchLM, MemoryStore

        lm = MedbenchLM(
            model=self._model,
            tokenizer=self._tokenizer,
            max_batch_tokens=self._plan.token_budget,
            store=MemoryStore(),  # answers of one state of the model must not be taken for another's
            routing="off",
            seed=self._plan.settings.seed,
            thinking=self._plan.protocol.reasoning(),
            add_bos_token=self._plan.settings.add_bos_token,
        )
        found = dict(lm.engine.described)
        names = dict.fromkeys(
            [*str(self.engine.get("engine", found["engine"])).split(" and "), found["engine"]]
        )
        self.engine |= found | {"engine": " and ".join(names)}
        return lm


def _rows(variant: str, task: Any, logged: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    samples = collect_samples(task, logged)
    metric = main_metric(task, samples.metrics)
    metadata = task.config.metadata or {}
    aggregation = samples.aggregations.get(metric, "mean")
    common = {
        "variant": variant,
        "task": task.config.task,
        "language": metadata.get("language"),
        "family": metadata.get("family"),
        "metric": metric,
        "aggregation": aggregation,
        "higher_is_better": bool(task.higher_is_better().get(metric, True)),
    }
    kind, column = column_of(samples.metrics.get(metric, []), aggregation)
    if kind not in _KINDS or aggregation not in AGGREGATIONS:
        raise RunError(
            f"the metric {metric!r} gives a document no number, counts or labels that could be compared",
            where=str(task.config.task),
            hint="metadata.main_metric can name another metric of the task",
        )
    return [
        common | {"document": row["document"], "cluster": row["cluster"], _KINDS[kind]: value}
        for row, value in zip(samples.rows, column.to_pylist(), strict=True)
    ]


def _append(table: pa.Table | None, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    added = pa.Table.from_pylist(list(rows), schema=_SCHEMA)
    return added if table is None else pa.concat_tables([table, added])


def _write(file: Path, table: pa.Table) -> None:
    import pyarrow.parquet as pq

    with replacing(file) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _done(folder: Path) -> pa.Table | None:
    """The variants that an earlier call left, if their file is whole."""
    import pyarrow.parquet as pq

    file = folder / "documents.parquet"
    if not file.exists():
        return None
    try:
        return pq.read_table(file).cast(_SCHEMA)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise RunError(
            f"the results cannot be read: {error}", where=str(file), hint="remove the folder and start over"
        ) from error


def _describe(
    folder: Path,
    plan: RunPlan,
    engine: Mapping[str, Any],
    seconds: Mapping[str, float],
    failures: Mapping[str, str],
) -> None:
    file = folder / "ablation.json"
    earlier = read_json(file).get("seconds", {}) if file.exists() else {}
    write_json(
        file,
        {
            "model": plan.model.model,
            "answer_identity": plan.answer_identity,
            "plan_hash": plan.plan_hash,
            "settings": {**plan.settings_used(), **engine},
            "tasks": {task.name: {"version": task.version, "digest": task.digest} for task in plan.tasks},
            "data_sources": sorted({source.kind for source in plan.sources.values()}),
            "seconds": {**earlier, **seconds},
            "failures": dict(failures),
        },
    )
