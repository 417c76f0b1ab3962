"""The runs that speak for systems, as one run per system."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from medbench.analysis.runs import Run, Runs, RunTables
from medbench.analysis.systems import System, systems


def speaking(runs: Runs) -> Runs:
    """One run per system of :func:`medbench.analysis.systems`, under the system's name.

    Where several runs answer for a system, each gives the rows of its own tasks, and rows of groups are left
    out.

    Args:
        runs: Loaded runs.
    """
    return Runs(tuple(_one_run(system) for system in systems(runs) if system.runs), runs.problems)


def _one_run(system: System) -> Run:
    tasks: dict[str, list[str]] = {}
    answering = {run.run: run for run in system.runs.values()}
    for task, run in system.runs.items():
        tasks.setdefault(run.run, []).append(task)
    if len(answering) == 1:
        return replace(next(iter(answering.values())), model=system.name)
    newest = max(answering.values(), key=lambda run: (str(run.manifest.get("started") or ""), run.run))
    parts = tuple((run.tables, tuple(tasks[name])) for name, run in answering.items())
    return replace(newest, model=system.name, run=", ".join(answering), tables=JoinedTables(parts))


@dataclass(frozen=True)
class JoinedTables:
    """Tables of several runs, each with the tasks that are taken from it."""

    parts: tuple[tuple[RunTables, tuple[str, ...]], ...]

    def scores(self) -> pa.Table:
        """Scores of the tasks; those of groups are left out."""
        found = []
        for tables, tasks in self.parts:
            table = tables.scores()
            names, kinds = (table.column(name).to_pylist() for name in ("task", "kind"))
            kept = [name in tasks and kind == "task" for name, kind in zip(names, kinds, strict=True)]
            found.append(table.filter(pa.array(kept)))
        return _joined(found)

    def sample_columns(self) -> list[str]:
        """Columns of any run's samples."""
        return list(dict.fromkeys(name for tables, _ in self.parts for name in tables.sample_columns()))

    def samples(self, columns: Sequence[str] | None, tasks: Sequence[str] | None) -> pa.Table:
        """Documents of the tasks."""
        return _joined(self._each(lambda tables, mine: tables.samples(columns, mine), tasks))

    def routing(self, tasks: Sequence[str] | None, most: int | None = None) -> pa.Table | None:
        """Router counts of the tasks, as far as runs have them."""
        found = self._each(lambda tables, mine: tables.routing(mine, most), tasks)
        return _joined(found) if found else None

    def _each(
        self, read: Callable[[RunTables, list[str]], pa.Table | None], tasks: Sequence[str] | None
    ) -> list[pa.Table]:
        chosen = [(tables, [t for t in mine if tasks is None or t in tasks]) for tables, mine in self.parts]
        found = [read(tables, mine) for tables, mine in chosen if mine]
        if not found:  # no rows, but columns all the same
            table = read(self.parts[0][0], list(self.parts[0][1]))
            found = [None if table is None else table.slice(0, 0)]
        return [table for table in found if table is not None]


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables, promote_options="permissive").unify_dictionaries()
