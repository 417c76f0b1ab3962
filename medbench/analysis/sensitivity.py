"""How far scores depend on what should not matter: seeds, prompts, option orders, protocols."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from medbench.analysis.answers import document_values
from medbench.analysis.runs import Run, Runs
from medbench.analysis.systems import main_scores
from medbench.runs.settings import recorded_settings
from medbench.statistics import mcnemar_exact

# Settings that change how a model is asked, not who is asked.
_SETTINGS = ("seed", "num_fewshot", "shuffle_options", "circular", "chat_template", "system_prompt")


def sensitivity(runs: Runs) -> pd.DataFrame:
    """How far the scores of a model move from run to run.

    Runs that were asked other documents, by their limit or source, are no repetitions and have rows of their
    own.

    Returns:
        A row per model and task that several of its runs share: ``runs`` (how many), ``mean``, ``deviation``
        (standard, between runs), ``lowest``, ``highest``, ``flips`` (mean share of the documents in common
        whose verdict differs between two runs) and ``varied`` (the settings that differ, as text).
    """
    rows = []
    for model in runs.models:
        mine = [run for run in runs if run.model == model]
        if len(mine) < 2:
            continue
        scores = {run.run: main_scores(run) for run in mine}
        values_of = {run.run: _values(run) for run in mine}
        tasks = dict.fromkeys(task for table in scores.values() for task in table.index)
        for task, having in _repeated(mine, scores, tasks):
            values = np.array([scores[run.run].at[task, "value"] for run in having], dtype=np.float64)
            rows.append(
                {
                    "model": model,
                    "task": task,
                    "runs": len(having),
                    "mean": float(values.mean()),
                    "deviation": float(values.std(ddof=1)),
                    "lowest": float(values.min()),
                    "highest": float(values.max()),
                    "flips": _flips([values_of[run.run].get(str(task)) for run in having]),
                    "varied": _varied([recorded_settings(run.manifest) for run in having]),
                }
            )
    names = ["model", "task", "runs", "mean", "deviation", "lowest", "highest", "flips", "varied"]
    return pd.DataFrame(rows, columns=names)


def _repeated(
    runs: Sequence[Run], scores: Mapping[str, pd.DataFrame], tasks: Iterable[str]
) -> Iterator[tuple[str, list[Run]]]:
    """For each task the runs that answered as many documents from the same source under the same limit."""
    for task in tasks:
        alike: dict[tuple[str, ...], list[Run]] = {}
        for run in runs:
            if task in scores[run.run].index:
                row = scores[run.run].loc[task]
                limit = (run.manifest.get("settings") or {}).get("limit")
                key = tuple(str(part) for part in (limit, row.get("data_source"), row["questions"]))
                alike.setdefault(key, []).append(run)
        yield from ((task, members) for members in alike.values() if len(members) > 1)


def protocol_agreement(runs: Runs) -> pd.DataFrame:
    """How often two protocols of one dataset come to the same verdict about a document.

    Returns:
        A row per run and pair of tasks with one dataset, different protocols and documents that are either
        right or wrong: ``dataset, task, protocol,
        other, other_protocol, n`` (documents in common), ``agreement`` (share of equal verdicts), ``kappa``
        (Cohen 1960: 0 is chance), ``score``, ``other_score`` (shares right) and ``p_value`` (exact McNemar).
    """
    rows = []
    for run in runs:
        scores = main_scores(run)
        tasks = scores[(scores["kind"] == "task") & scores["dataset"].notna()]
        values = {name: part for name, part in _values(run).items() if part.dropna().isin((0, 1)).all()}
        for dataset, part in tasks.groupby("dataset", sort=False):
            for one, two in combinations(part.to_dict("records"), 2):
                if one["protocol"] == two["protocol"] or not {one["task"], two["task"]} <= values.keys():
                    continue
                pair = [values[one["task"]], values[two["task"]]]
                joined = pd.concat(pair, axis=1, join="inner").dropna()
                if joined.empty:
                    continue
                first, second = (joined.iloc[:, i].to_numpy(dtype=bool) for i in range(2))
                rows.append(
                    {
                        "model": run.model,
                        "run": run.run,
                        "dataset": dataset,
                        "task": one["task"],
                        "protocol": one["protocol"],
                        "other": two["task"],
                        "other_protocol": two["protocol"],
                        **_agreement(first, second),
                    }
                )
    return pd.DataFrame(rows, columns=_AGREEMENT)


_AGREEMENT = [
    "model",
    "run",
    "dataset",
    "task",
    "protocol",
    "other",
    "other_protocol",
    "n",
    "agreement",
    "kappa",
    "score",
    "other_score",
    "p_value",
]


def _agreement(first: Any, second: Any) -> dict[str, Any]:
    observed = float((first == second).mean())
    one, two = float(first.mean()), float(second.mean())
    chance = one * two + (1 - one) * (1 - two)
    return {
        "n": len(first),
        "agreement": observed,
        "kappa": (observed - chance) / (1 - chance) if chance < 1 else float("nan"),
        "score": one,
        "other_score": two,
        "p_value": mcnemar_exact(int((first & ~second).sum()), int((second & ~first).sum())),
    }


def _values(run: Run) -> dict[str, pd.Series[float]]:
    """The value of each document of each task, 1 being right."""
    kinds = [name for name in run.tables.sample_columns() if name.startswith(("counts.", "labels."))]
    frame = run.samples(["task", "document", "score", *kinds])
    frame["value"] = document_values(frame)
    distinct = frame.drop_duplicates(["task", "document"])
    return {
        str(task): part.set_index("document")["value"] for task, part in distinct.groupby("task", sort=False)
    }


def _flips(values: Sequence[pd.Series[float] | None]) -> float:
    shares = []
    for one, two in combinations([series for series in values if series is not None], 2):
        joined = pd.concat([one, two], axis=1, join="inner").dropna() >= 1
        if len(joined):
            shares.append(float((joined.iloc[:, 0] != joined.iloc[:, 1]).mean()))
    return float(np.mean(shares)) if shares else float("nan")


def _varied(settings: Sequence[Mapping[str, Any]]) -> str:
    texts = {
        name: [json.dumps(setting.get(name), ensure_ascii=False) for setting in settings]
        for name in _SETTINGS
    }
    return "; ".join(
        f"{name}: {', '.join(dict.fromkeys(values))}"
        for name, values in texts.items()
        if len(set(values)) > 1
    )
