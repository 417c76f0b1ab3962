"""Routing task by task: balance, decidedness, similarity, and what training changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from medbench.analysis import Runs
from medbench.analysis.routing import load_difference, router_summary, task_similarity
from medbench.errors import AnalysisError
from medbench.reports.formats import known
from medbench.reports.heatmap import expert_map, layer_lines
from medbench.reports.section import Section

__all__ = ["routing_tasks"]

# Beyond so many tasks, cells are too many to explain each.
_TITLED = 16

_METRICS = {
    "mutual_information": "mutual information",
    "token_entropy": "token entropy",
    "load_entropy": "load entropy",
    "effective_experts": "effective experts",
    "max_violation": "max violation",
    "dead_experts": "dead experts",
}


def routing_tasks(runs: Runs, systems: list[str], *, draws: int = 200) -> Section | None:
    """Figures of the routers per task; ``None`` without routers."""
    frames: dict[str, pd.DataFrame] = {}
    for run, system in zip(runs, systems, strict=True):
        table = run.tables.routing(None)
        if table is not None and table.num_rows:
            frames[system] = table.to_pandas().assign(model=system, run="")
    if not frames:
        return None
    blocks = [_block(system, frame, draws) for system, frame in frames.items()]
    return Section(
        id="routing-tasks",
        title="Routing by task",
        lead="Means over all routers of the model, chance levels in the heading. Mutual information says how "
        "much a token decides which experts serve it; similarity compares the expert loads of two tasks (1: "
        "equal). Intervals resample documents and need runs that recorded them (--routing documents).",
        template="routing_tasks.html.j2",
        data={"blocks": blocks, "metrics": list(_METRICS.values()), "change": _change(frames)},
    )


def _block(system: str, frame: pd.DataFrame, draws: int) -> dict[str, Any]:
    summary = router_summary(frame, ["task"], draws=draws)
    rows: dict[str, dict[str, Any]] = {}
    for row in summary[summary["metric"].isin(_METRICS)].to_dict("records"):
        rows.setdefault(str(row["task"]), {})[str(row["metric"])] = row
    chance = {name: _number(next(iter(rows.values()))[name]["chance"]) for name in _METRICS}
    layers = router_summary(frame, ["layer", "projection"], draws=draws)
    return {
        "system": system,
        "chance": [chance[name] for name in _METRICS],
        "rows": [
            {"task": task, "cells": [_cell(values[name]) for name in _METRICS]}
            for task, values in sorted(rows.items())
        ],
        "entropy": _entropy(layers[layers["metric"] == "token_entropy"]),
        "similarity": _similarity(task_similarity(frame, draws=draws)),
    }


def _cell(row: dict[Any, Any]) -> dict[str, str]:
    interval = f"[{_number(row['low'])}, {_number(row['high'])}]" if known(row["low"]) else ""
    return {"text": _number(row["value"]), "interval": interval}


def _number(value: float) -> str:
    return f"{value:.2f}"


def _entropy(rows: pd.DataFrame) -> Markup:
    table = rows.pivot(index="layer", columns="projection", values="value").sort_index()
    names = [name for name in ("gate", "up", "down") if name in table] + sorted(
        {str(name) for name in table} - {"gate", "up", "down"}
    )
    lines = {str(name): table[name].astype(float).tolist() for name in names}
    layers = [int(layer) for layer in table.index]
    return layer_lines(lines, layers, top=float(rows["chance"].max()), name="Entropy of the routers in nats")


def _similarity(pairs: pd.DataFrame) -> dict[str, Any] | None:
    """The matrix of similarities with tasks that are routed alike side by side."""
    tasks = list(pairs.loc[pairs["task"] == pairs["other"], "task"])
    if len(tasks) < 2:
        return None
    place = {task: i for i, task in enumerate(tasks)}
    matrix = np.ones((len(tasks), len(tasks)))
    title = [["" for _ in tasks] for _ in tasks]
    few = len(tasks) <= _TITLED
    for row in pairs.to_dict("records"):
        i, j = place[row["task"]], place[row["other"]]
        matrix[i, j] = matrix[j, i] = row["similarity"]
        if not few:
            continue
        parts = [f"{row['task']} and {row['other']}: {row['similarity']:.4f}"]
        if known(row["low"]):
            parts.append(f"[{row['low']:.4f}, {row['high']:.4f}]")
        if known(row["split_half"]):
            parts.append(f"two halves of one task: {row['split_half']:.4f}")
        title[i][j] = title[j][i] = ", ".join(parts)
    order = _leaves(matrix)
    lowest = float(matrix.min())
    rows = [
        {
            "task": tasks[i],
            "cells": [
                (
                    "–" if i == j else f"{matrix[i, j]:.{3 if few else 2}f}".lstrip("0"),
                    round(100 * (matrix[i, j] - lowest) / max(1e-9, 1 - lowest)),
                    title[i][j],
                )
                for j in order
            ],
        }
        for i in order
    ]
    return {"tasks": [tasks[i] for i in order], "rows": rows}


def _leaves(matrix: Any) -> list[int]:
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    distance = np.clip(1 - matrix, 0, None)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average")
    return [int(leaf) for leaf in leaves_list(tree)]


def _change(frames: dict[str, pd.DataFrame]) -> dict[str, Any] | None:
    """The difference of the loads of the last and the first model with routers of the same shape."""
    systems = list(frames)
    if len(systems) < 2:
        return None
    first, last = systems[0], systems[-1]
    try:
        frame = load_difference(frames[last], frames[first], ["layer", "projection"])
    except AnalysisError:
        return None  # checkpoints of different shape have no experts in common
    projections = [name for name in ("gate", "up", "down") if name in set(frame["projection"])]
    layers = sorted(int(layer) for layer in frame["layer"].unique())
    experts = int(frame["expert"].max()) + 1
    values = frame.set_index(["projection", "layer", "expert"])["difference"].to_dict()
    numbers = [
        float(values.get((p, layer, e), 0.0)) for p in projections for layer in layers for e in range(experts)
    ]
    reach = max(0.01, max(abs(number) for number in numbers))
    drawing = expert_map(
        projections, layers, experts, numbers, middle=0, reach=reach, name="Difference of expert loads"
    )
    return {"first": first, "last": last, "svg": drawing, "reach": f"{100 * reach:.1f}"}
