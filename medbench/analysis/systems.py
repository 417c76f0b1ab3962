"""Which runs speak for a model: those of one set of conditions, never a mixture."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from medbench.analysis.conditions import Conditions
from medbench.analysis.groups import Group, averaged, group_weights, groups_of
from medbench.analysis.runs import Run, Runs
from medbench.analysis.task_names import unknown_name
from medbench.analysis.units import with_units
from medbench.errors import AnalysisError

# Where documents that a task brings along come from; whatever else a run reads has no part in them.
_OWN = "task"


@dataclass(frozen=True)
class System:
    """A model under one set of conditions, or one run of it.

    Attributes:
        name: The model's name; with what differs from the model's usual conditions where these are others,
            and with the run id where runs are told apart.
        speaks_for: What has one voice in a ranking: the model, or the run where runs are told apart.
        conditions: Those of all its runs.
        runs: The run that answers for each task.
        scores: Main scores, a row per task or group, indexed by its name.
        groups: What its groups are made of.
        usual: Whether it has the plain name, of the conditions under which the model was asked most.
    """

    name: str
    speaks_for: str
    conditions: Conditions
    runs: Mapping[str, Run]
    scores: pd.DataFrame
    groups: Mapping[str, Group]
    usual: bool = True

    @property
    def sizes(self) -> dict[str, float]:
        """Documents of each task."""
        tasks = self.scores[self.scores["kind"] == "task"]
        return dict(zip(tasks.index, tasks["n"].astype(float), strict=True))

    def run_ids(self, tasks: Collection[str]) -> list[str]:
        """The runs that answer for some tasks, each once."""
        return list(dict.fromkeys(self.runs[task].run for task in tasks if task in self.runs))


def systems(runs: Runs, *, by: str = "model", tasks: Collection[str] | None = None) -> list[System]:
    """Arrange runs as systems.

    Runs of a model that were made under the same conditions answer together: for each task the one with the
    most documents, the newest of several. Runs under other conditions are systems of their own. The plain
    name of the model belongs to the conditions with the most documents; a later run under other conditions
    that asks as many does not take it over.

    Args:
        runs: Loaded runs.
        by: ``model``, or ``run`` for one system per run.
        tasks: Tasks whose documents decide what has the plain name; all by default.

    Returns:
        The systems, model by model; the one with the model's plain name comes first among those of its model.

    Raises:
        AnalysisError: ``by`` is something else.
    """
    if by not in ("model", "run"):
        raise AnalysisError(
            f"systems are told apart by model or by run, not by {by!r}",
            where="--by",
            hint="annotations go with `medbench scores` and `compare`, or cell_scores and compare_cells",
        )
    found: list[System] = []
    for model in runs.models:
        mine = [run for run in runs if run.model == model]
        if by == "run":
            found += [_system(f"{model}/{run.run}", Conditions.of(run), [run]) for run in mine]
        else:
            found += _named([_system(model, *bundle) for bundle in _bundles(mine)], tasks)
    return found


def find_system(candidates: Sequence[System], name: str) -> System:
    """Find a system by its name.

    Raises:
        AnalysisError: There is none.
    """
    for system in candidates:
        if system.name == name:
            return system
    raise unknown_name("system", name, [system.name for system in candidates])


def main_scores(run: Run) -> pd.DataFrame:
    """Main scores of a run, a row per task or group, indexed by its name."""
    scores = with_units(run.tables.scores().to_pandas())
    main = scores[scores["main"].fillna(False).astype(bool)]
    main = main.drop_duplicates("task").set_index("task", drop=False)
    # A question that was asked in several rotations is one document all the same.
    rotated = scores[scores["metric"] == "acc_circular"].drop_duplicates("task").set_index("task")["n"]
    return main.assign(questions=rotated.reindex(main.index).fillna(main["n"]))


def _bundles(runs: Sequence[Run]) -> list[tuple[Conditions, list[Run]]]:
    """Runs of a model that may answer together, with their conditions."""
    bundles: dict[tuple[Conditions, str], list[Run]] = {}
    for run in runs:
        conditions = Conditions.of(run)
        sources = tuple(source for source in conditions.sources if source != _OWN)
        # Which task of a run with several sources has which would have to agree with every other run.
        key = replace(conditions, sources=sources), run.run if len(sources) > 1 else ""
        bundles.setdefault(key, []).append(run)
    for key in [key for key in bundles if not key[0].sources]:
        # Documents of the tasks' own are the same beside any source of the others.
        homes = [home for home in bundles if home[0].sources and replace(home[0], sources=()) == key[0]]
        for home in homes:
            bundles[home] = [run for run in runs if run in bundles[home] or run in bundles[key]]
        if homes:
            del bundles[key]
    return [(key[0], members) for key, members in bundles.items()]


def _named(found: Sequence[System], tasks: Collection[str] | None) -> list[System]:
    """The systems of one model: the first under its plain name, the others with what sets them apart."""
    first, *others = sorted(found, key=lambda system: _precedence(system, tasks))
    named = [first]
    for system in others:
        apart = first.conditions.differing(system.conditions)
        words = system.conditions.words(apart) or system.run_ids(system.runs)
        name = f"{system.speaks_for} · {', '.join(words)}"
        if name in [other.name for other in named]:
            name = f"{name}, {', '.join(system.run_ids(system.runs))}"
        named.append(replace(system, name=name, usual=False))
    return named


def _precedence(system: System, tasks: Collection[str] | None) -> tuple[Any, ...]:
    scores = system.scores[system.scores["kind"] == "task"]
    questions = scores["questions"] if tasks is None else scores["questions"].reindex(list(tasks))
    conditions = system.conditions
    probes = (
        conditions.chat_template is False,
        conditions.shuffle_options is not None,
        conditions.circular,
        conditions.quantization is not None,
    )
    started = [(str(run.manifest.get("started") or ""), run.run) for run in system.runs.values()]
    oldest = min(started, default=("", ""))
    return -float(questions.sum()), sum(probes), oldest


def _system(name: str, conditions: Conditions, runs: Sequence[Run]) -> System:
    """A system of runs from the oldest to the newest."""
    tables = [main_scores(run) for run in runs]
    chosen: dict[str, int] = {}
    for number, table in enumerate(tables):
        for task in table.index[table["kind"] == "task"]:
            if task not in chosen or _weight(table.loc[task]) >= _weight(tables[chosen[task]].loc[task]):
                chosen[str(task)] = number
    picked = [tables[number].loc[[task]] for task, number in chosen.items()]
    joined = pd.concat(picked) if picked else tables[0].iloc[:0]
    definitions = pd.concat(tables[::-1])
    groups = groups_of(definitions)
    sources = (
        tuple(sorted(set(joined["data_source"].dropna().astype(str)))) if "data_source" in joined else ()
    )
    answering = {task: runs[number] for task, number in chosen.items()}
    rows = [joined]
    for group in dict.fromkeys(definitions.index[definitions["kind"] == "group"]):
        number = next(i for i in reversed(range(len(tables))) if group in tables[i].index)
        row = tables[number].loc[[group]]
        leaves = group_weights(groups, group) if group in groups else {}
        if leaves and {chosen.get(task) for task in leaves} != {number}:
            row = _averaged_anew(row, joined, group_weights(groups, group, dict(joined["n"].astype(float))))
        rows.append(row)
    return System(name, name, replace(conditions, sources=sources), answering, pd.concat(rows), groups)


def _weight(score: Any) -> tuple[bool, float]:
    return not pd.isna(score["value"]), float(score["n"])


def _averaged_anew(row: pd.DataFrame, tasks: pd.DataFrame, weights: Mapping[str, float]) -> pd.DataFrame:
    """A group's row for tasks that several runs answer."""
    found = averaged(tasks, weights)
    complete = not math.isnan(found.value)
    return row.assign(
        value=found.value,
        low=found.low if complete else math.nan,
        high=found.high if complete else math.nan,
        interval=found.method,
        n=found.n,
        questions=tasks["questions"].reindex(list(weights)).sum(),
    )
