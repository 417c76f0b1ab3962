"""Runs on disk, found and checked, with their tables one call away."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from medbench.analysis.annotations import annotation_column
from medbench.analysis.cells import VALUE_COLUMNS, cell_rows
from medbench.analysis.groups import groups_of
from medbench.analysis.routing.tables import CELL_KEYS, DAMAGED
from medbench.analysis.routing.totals import routing_totals
from medbench.analysis.soundness import routing_fault
from medbench.analysis.tables import SAMPLE_DETAILS, join_tables, plain_frame, read_table, table_columns
from medbench.analysis.task_names import leaf_tasks, unknown_name
from medbench.analysis.units import with_units
from medbench.errors import AnalysisError

_LOG = logging.getLogger(__name__)


class Problem(NamedTuple):
    """Something found while loading that the reader should know.

    Attributes:
        path: File or folder concerned.
        what: What is wrong, and what became of it.
    """

    path: Path
    what: str


class RunTables(Protocol):
    """Where the tables of a run come from."""

    def scores(self) -> pa.Table:
        """The table of scores."""

    def sample_columns(self) -> list[str]:
        """Names of the columns that :meth:`samples` can give."""

    def samples(self, columns: Sequence[str] | None, tasks: Sequence[str] | None) -> pa.Table:
        """The table of documents."""

    def routing(self, tasks: Sequence[str] | None, most: int | None = None) -> pa.Table | None:
        """The router counts, or ``None`` for a model without routers.

        Where there are more rows than ``most``, the documents of each task are added up.
        """


@dataclass(frozen=True)
class ParquetTables:
    """Tables of a run directory that medbench wrote."""

    folder: Path

    def scores(self) -> pa.Table:
        """``scores.parquet``."""
        return read_table(self.folder / "scores.parquet", None, None)

    def sample_columns(self) -> list[str]:
        """Columns of ``samples.parquet``."""
        return table_columns(self.folder / "samples.parquet")

    def samples(self, columns: Sequence[str] | None, tasks: Sequence[str] | None) -> pa.Table:
        """``samples.parquet``."""
        return read_table(self.folder / "samples.parquet", columns, tasks)

    def routing(self, tasks: Sequence[str] | None, most: int | None = None) -> pa.Table | None:
        """``routing.parquet``, if there is one."""
        path = self.folder / "routing.parquet"
        if not path.exists():
            return None
        if (fault := routing_fault(path)) is not None:
            raise AnalysisError(f"the table of router counts {fault}", where=str(path), hint=DAMAGED)
        if most is not None and pq.read_metadata(path).num_rows > most:
            return routing_totals(path, tasks)
        return read_table(path, None, tasks)


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        model: Name of the model.
        run: Run id, unique among the runs of the model.
        path: Run directory, or the results file of another harness.
        format: Who wrote it.
        manifest: ``run.json``, or what stands in its place.
        tables: Access to the tables.
    """

    model: str
    run: str
    path: Path
    format: Literal["medbench", "lm_eval"]
    manifest: Mapping[str, Any] = field(repr=False)
    tables: RunTables = field(repr=False)

    def samples(self, columns: Sequence[str], *, tasks: Sequence[str] | None = None) -> pd.DataFrame:
        """Columns of this run's documents, as far as there are such; texts are plain texts."""
        return plain_frame(self.tables.samples(columns, tasks))

    def routing(self, *, tasks: Sequence[str] | None = None, most: int | None = None) -> pd.DataFrame:
        """This run's part of :meth:`Runs.routing`.

        Args:
            tasks: Only these tasks.
            most: Add up the documents of each task where there are more rows than that.
        """
        return Runs((self,)).routing(tasks=tasks, most=most)

    def cells(self, column: str, *, tasks: Sequence[str] | None = None) -> pd.DataFrame:
        """This run's part of :meth:`Runs.scores` by a column of its samples.

        Args:
            column: ``subject`` or ``annotation.<name>``; a run may lack it.
            tasks: Only these tasks.
        """
        scores = self.tables.scores().to_pandas()
        scores = scores if tasks is None else scores[scores["task"].isin(list(tasks))]
        wanted = [name for name in self.tables.sample_columns() if name.startswith(VALUE_COLUMNS)]
        samples = self.samples(["task", "cluster", "filter", column, *wanted], tasks=tasks)
        seed = (self.manifest.get("settings") or {}).get("seed")
        rows = cell_rows(scores, samples, column, seed=seed if isinstance(seed, int) else 0)
        named = ["task", "kind", "by", "cell"]
        rest = [name for name in scores.columns if name not in named]
        frame = pd.DataFrame(rows, columns=[*named, *rest, "reason"])
        frame.insert(0, "model", self.model)
        frame.insert(1, "run", self.run)
        return frame


@dataclass(frozen=True)
class Runs:
    """Runs that were loaded together, oldest first within each model.

    Attributes:
        runs: The runs.
        problems: What was found wrong on the way; nothing is left out without an entry here.
    """

    runs: tuple[Run, ...]
    problems: tuple[Problem, ...] = ()

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    @property
    def models(self) -> list[str]:
        """Names of the models, each once."""
        return list(dict.fromkeys(run.model for run in self.runs))

    def select(self, *, model: str | None = None, run: str | None = None) -> Runs:
        """Keep the runs of one model, or one run.

        Raises:
            AnalysisError: Nothing is left.
        """
        kept = tuple(r for r in self.runs if model in (None, r.model) and run in (None, r.run))
        if not kept:
            if run is None or model not in (None, *self.models):
                raise unknown_name("model", model, self.models)
            raise unknown_name("run", run, [r.run for r in self.runs if model in (None, r.model)])
        return Runs(kept, self.problems)

    def scores(self, *, by: str | None = None) -> pd.DataFrame:
        """A row per run, task (or group) and metric; columns in docs/results.md.

        Args:
            by: ``subject`` or an annotation, such as ``question_type``: then a row per cell of a task, the
                documents that share it, beside that of the task, and none of groups.

        Raises:
            AnalysisError: No run has such an annotation.
        """
        if by is None:
            return with_units(join_tables((run.model, run.run, run.tables.scores()) for run in self.runs))
        column = annotation_column(by, self.sample_columns())
        return with_units(pd.concat([run.cells(column) for run in self.runs], ignore_index=True))

    def sample_columns(self) -> list[str]:
        """Names of the columns that the samples of any of the runs have."""
        return list(dict.fromkeys(name for run in self.runs for name in run.tables.sample_columns()))

    def samples(
        self,
        columns: Sequence[str] | Literal["all"] | None = None,
        *,
        tasks: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """A row per run, task and document; columns in docs/results.md.

        Args:
            columns: Columns to read, ``"all"``, or by default all but the large ones (``prompt``,
                ``response``, ``first_pass``, ``second_pass``, ``choices``, ``choice_logprobs`` and the
                hashes).
                ``metric.<name>``, ``counts.<name>`` and ``labels.<name>`` are null where a task has no
                such metric.
            tasks: Only these tasks; a group stands for its tasks.

        Raises:
            AnalysisError: No run has such a column, or such a task.
        """
        wanted: list[str] | None
        if columns == "all":
            wanted = None
        else:
            known = self.sample_columns()
            if columns is None:
                wanted = [name for name in known if name not in SAMPLE_DETAILS]
            else:
                missing = [name for name in columns if name not in (*known, "model", "run")]
                if missing:
                    raise unknown_name("samples column", missing[0], known)
                wanted = [name for name in columns if name not in ("model", "run")]
        named = self._tasks(tasks)
        return join_tables((run.model, run.run, run.tables.samples(wanted, named)) for run in self.runs)

    def routing(self, *, tasks: Sequence[str] | None = None, most: int | None = None) -> pd.DataFrame:
        """A row per run, task, document, phase, layer, projection and expert.

        There are no rows for models without routers, and none, with a warning, for a run among others whose
        table cannot be read.

        Args:
            tasks: Only these tasks; a group stands for its tasks.
            most: Add up the documents of each task of a run that has more rows than that.

        Raises:
            AnalysisError: No run has such a task, or no table can be read, or one says something twice.
        """
        named = self._tasks(tasks)
        found: list[tuple[str, str, pa.Table]] = []
        faults: list[AnalysisError] = []
        for run in self.runs:
            try:
                table = _routing(run, named, most)
            except AnalysisError as error:
                faults.append(error)
                continue
            if table is not None:
                found.append((run.model, run.run, table))
        if faults and not found:
            raise faults[0]
        for fault in faults:
            _LOG.warning("routing is left out (%s): %s", fault.where, fault.what)
        return join_tables(found)

    def _tasks(self, names: Sequence[str] | None) -> list[str] | None:
        """The tasks that names stand for in any run."""
        if names is None:
            return None
        scores = self.scores()
        tasks = scores.loc[scores["kind"] == "task", "task"].astype(str).unique()
        return leaf_tasks(names, tasks, groups_of(scores))

    def manifest(self) -> pd.DataFrame:
        """A row per run: what was evaluated, by what, when, on what.

        ``versions`` and ``data`` are JSON texts, so that rows compare and group.
        """
        return pd.DataFrame([_manifest_row(run) for run in self.runs])


def single_run(runs: Run | Runs) -> Run:
    """The run, or the only one of several loaded together.

    Raises:
        AnalysisError: There are more than one.
    """
    if isinstance(runs, Run):
        return runs
    if len(runs) != 1:
        raise AnalysisError(
            f"{len(runs)} runs were given where one is meant",
            where=", ".join(f"{run.model}/{run.run}" for run in runs.runs[:3]),
            hint="give one run directory",
        )
    return runs.runs[0]


def _routing(run: Run, tasks: Sequence[str] | None, most: int | None) -> pa.Table | None:
    """The router counts of a run, each cell once."""
    try:
        table = run.tables.routing(tasks, most)
    except (OSError, pa.ArrowException) as error:
        raise AnalysisError(
            f"the routing cannot be read: {error}", where=str(run.path), hint=DAMAGED
        ) from error
    if table is None:
        return None
    keys = [*CELL_KEYS[2:], "expert"]
    if set(keys) <= set(table.column_names) and table.select(keys).to_pandas().duplicated().any():
        raise AnalysisError("the routing counts something twice", where=str(run.path), hint=DAMAGED)
    return table


def _manifest_row(run: Run) -> dict[str, Any]:
    manifest = run.manifest
    attempts = manifest.get("attempts") or [{}]
    environment = attempts[-1].get("environment") or {}
    definition = manifest.get("model_definition") or {}
    settings = manifest.get("settings") or {}
    return {
        "model": run.model,
        "run": run.run,
        "status": manifest.get("status"),
        "format": run.format,
        "started": _time(manifest.get("started")),
        "ended": _time(manifest.get("ended")),
        "seconds": manifest.get("seconds"),
        "documents": manifest.get("documents"),
        "medbench": manifest.get("medbench"),
        "python": environment.get("python"),
        "platform": environment.get("platform"),
        "gpus": ", ".join(environment.get("gpus") or []),
        "dtype": definition.get("dtype"),
        "device": definition.get("device"),
        "limit": settings.get("limit"),
        "seed": settings.get("seed"),
        "fingerprint": _compact(manifest.get("fingerprint")),
        "plan_hash": manifest.get("plan_hash"),
        "versions": _compact(environment.get("packages") or {}),
        "data": _compact(manifest.get("data") or {}),
        "failures": _compact(manifest.get("failures") or {}),
        "path": str(run.path),
    }


def _time(value: Any) -> Any:
    return pd.to_datetime(str(value), utc=True, errors="coerce") if value else pd.NaT


def _compact(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
