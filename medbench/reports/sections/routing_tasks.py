"""Routing task by task: balance, decidedness, similarity, and what training changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from medbench.analysis import Runs
from medbench.analysis.routing.cells import Cells
from medbench.analysis.routing.summary import load_difference, router_summary, task_similarity
from medbench.analysis.routing.tables import NotRecordedError
from medbench.errors import AnalysisError
from medbench.reports.charts.picture import Picture, Ramp, file_stem
from medbench.reports.charts.svg import Cell, expert_map, layer_lines, value_map
from medbench.reports.formats import known
from medbench.reports.section import Section, in_computing_order, picture_section, routed

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
    frames = {system: counted.named(system) for system, counted in routed(runs, systems)}
    if not frames:
        return None
    blocks = [_block(system, frame, draws) for system, frame in frames.items()]
    change = _change(frames)
    pictures = [picture for block in blocks for picture in block["pictures"]]
    return Section(
        id="routing-tasks",
        title="Routing by task",
        lead="Means over all routers of the model, chance levels in the heading. Mutual information "
        "says how much a token decides which experts serve it; similarity compares the expert loads of two "
        "tasks (1: equal). Intervals resample documents and need runs that recorded them (not --routing "
        "tasks), in three million rows at most.",
        template="routing_tasks.html.j2",
        data={"blocks": blocks, "metrics": list(_METRICS.values()), "change": change},
        pictures=pictures if change is None else [*pictures, change],
    )


def _block(system: str, frame: Cells, draws: int) -> dict[str, Any]:
    summary = router_summary(frame, ["task"], draws=draws)
    rows: dict[str, dict[str, Any]] = {}
    for row in summary[summary["metric"].isin(_METRICS)].to_dict("records"):
        rows.setdefault(str(row["task"]), {})[str(row["metric"])] = row
    chance = {name: _number(next(iter(rows.values()))[name]["chance"]) for name in _METRICS}
    layers = router_summary(frame, ["layer", "projection"], draws=draws)
    entropy = _entropy(layers[layers["metric"] == "token_entropy"], system)
    similarity = _similarity(task_similarity(frame, draws=draws), system)
    return {
        "system": system,
        "chance": [chance[name] for name in _METRICS],
        "rows": [
            {"task": task, "cells": [_cell(values[name]) for name in _METRICS]}
            for task, values in sorted(rows.items())
        ],
        "pictures": [entropy] if similarity is None else [entropy, similarity],
    }


def _cell(row: dict[Any, Any]) -> dict[str, str]:
    interval = f"[{_number(row['low'])}, {_number(row['high'])}]" if known(row["low"]) else ""
    return {"text": _number(row["value"]), "interval": interval}


def _number(value: float) -> str:
    return f"{value:.2f}"


def _entropy(rows: pd.DataFrame, system: str) -> Picture:
    table = rows.pivot(index="layer", columns="projection", values="value").sort_index()
    lines = {name: table[name].astype(float).tolist() for name in in_computing_order(table)}
    layers = [int(layer) for layer in table.index]
    top = float(rows["chance"].max())
    least = rows.nsmallest(1, "value").iloc[0]
    return Picture(
        name=f"entropy-{file_stem(system)}",
        title=f"Entropy of the routers of {system}",
        caption="Mean over tokens, by layer, in nats.",
        reading=f"Lower is more decided; a router that ignores its input has {top:.2f} (dashed). The "
        f"most decided is {least['projection']} in layer {least['layer']}: {least['value']:.2f}.",
        reading_zh=f"越低表示路由越果断；不看输入的路由器为 {top:.2f}（虚线）。"
        f"最果断的是第 {least['layer']} 层的 {least['projection']}：{least['value']:.2f}。",
        drawing=layer_lines(lines, layers, top=top, name="Entropy of the routers in nats"),
    )


def _similarity(pairs: pd.DataFrame, system: str) -> Picture | None:
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
    digits = 3 if few else 2
    cells = [
        [
            Cell(lowest, "–")
            if i == j
            else Cell(float(matrix[i, j]), f"{matrix[i, j]:.{digits}f}".lstrip("0"), title[i][j])
            for j in order
        ]
        for i in order
    ]
    others = pairs[pairs["task"] != pairs["other"]]
    near = others.nlargest(1, "similarity").iloc[0]
    far = others.nsmallest(1, "similarity").iloc[0]
    half = float(pairs["split_half"].mean())
    chance = f"two halves of one task reach {half:.3f}" if known(half) else "1 is equal loads"
    chance_zh = f"同一任务的两半为 {half:.3f}" if known(half) else "1 表示负载相同"
    return Picture(
        name=f"similarity-{file_stem(system)}",
        title=f"Similarity of the tasks in {system}",
        caption="1 − Jensen-Shannon divergence of the expert loads, mean over routers; neighbors are alike.",
        reading=f"Darker tasks share experts; chance: {chance}. Most alike: {near['task']} and "
        f"{near['other']}, {near['similarity']:.3f}; least: {far['task']} and {far['other']}, "
        f"{far['similarity']:.3f}.",
        reading_zh=f"颜色越深，两个任务共用的专家越多；参照水平：{chance_zh}。"
        f"最相似：{near['task']} 与 {near['other']}（{near['similarity']:.3f}）；"
        f"最不相似：{far['task']} 与 {far['other']}（{far['similarity']:.3f}）。",
        drawing=value_map(
            [f"{number} {tasks[i]}" for number, i in enumerate(order, start=1)],
            [str(number) for number in range(1, len(order) + 1)],
            cells,
            middle=lowest,
            reach=max(1e-9, 1 - lowest),
            name=f"Similarity of tasks in {system}",
        ),
    )


def _leaves(matrix: Any) -> list[int]:
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    distance = np.clip(1 - matrix, 0, None)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average")
    return [int(leaf) for leaf in leaves_list(tree)]


def _change(frames: dict[str, Cells]) -> Picture | None:
    """The difference of the loads of the last and the first model with routers of the same shape."""
    systems = list(frames)
    if len(systems) < 2:
        return None
    first, last = systems[0], systems[-1]
    try:
        return _change_picture(frames[last], frames[first], (last, first))
    except NotRecordedError:
        return None  # checkpoints of different shape have no experts in common


def change_section(first: Runs, second: Runs) -> Section:
    """How the expert loads of one run differ from those of another, first minus second.

    Raises:
        AnalysisError: A side holds several runs, or they have no routers in common.
    """
    names = [f"{run.model} · {run.run}" for side in (first, second) for run in side]
    models = [*first.models, *second.models]
    if len(names) != 2:
        raise AnalysisError("loads are compared between two runs", hint="give one run directory on each side")
    one, other = models if models[0] != models[1] else names
    return picture_section(
        "routing-change",
        "Expert loads compared",
        "What the routers of one checkpoint do more or less than those of the other, on the same tasks.",
        [_change_picture(first.routing(), second.routing(), (one, other))],
    )


def _change_picture(
    one: pd.DataFrame | Cells, other: pd.DataFrame | Cells, names: tuple[str, str]
) -> Picture:
    """The expert loads of one checkpoint minus those of another.

    Args:
        one: ``runs.routing()`` of one run, or its cells.
        other: That of the other.
        names: What they are called.

    Raises:
        NotRecordedError: They have no routers or tasks in common.
    """
    frame = load_difference(one, other, ["layer", "projection"])
    projections = in_computing_order(frame["projection"])
    layers = sorted(int(layer) for layer in frame["layer"].unique())
    experts = int(frame["expert"].max()) + 1
    values = frame.set_index(["projection", "layer", "expert"])["difference"].to_dict()
    numbers = [
        float(values.get((p, layer, e), 0.0)) for p in projections for layer in layers for e in range(experts)
    ]
    reach = max(0.01, max(abs(number) for number in numbers))
    most = frame.iloc[int(np.argmax(np.abs(frame["difference"].to_numpy(dtype=np.float64))))]
    change = f"{100 * most['difference']:+.1f}".replace("-", "−")
    return Picture(
        name=f"change-{file_stem(names[0])}-{file_stem(names[1])}",
        title=f"{names[0]} − {names[1]}",
        caption="Difference of the expert loads over all tasks, in points of the share.",
        reading="Pale is no change (0); orange experts do more in the first of the two, blue ones less. "
        f"Largest: {most['projection']}, layer {most['layer']}, expert {most['expert']}: {change}.",
        reading_zh="浅色表示没有变化（0）；橙色专家在前者中承担更多，蓝色更少。"
        f"变化最大：第 {most['layer']} 层 {most['projection']} 的专家 {most['expert']}：{change} 个百分点。",
        drawing=expert_map(
            projections, layers, experts, numbers, middle=0, reach=reach, name="Difference of expert loads"
        ),
        ramp=Ramp(f"−{100 * reach:.1f}", "no change", f"+{100 * reach:.1f}"),
    )
