"""Expert load by layer, projection and expert."""

from __future__ import annotations

from typing import Any

import numpy as np

from medbench.analysis import Runs
from medbench.analysis.routing.cells import Cells
from medbench.analysis.routing.metrics import load_share
from medbench.reports.charts.picture import Picture, Ramp, file_stem
from medbench.reports.charts.svg import expert_map
from medbench.reports.section import Section, in_computing_order, pack, routed

_ALL = "all"


def routing(runs: Runs, systems: list[str]) -> Section | None:
    """Heat maps of the expert load, with a choice of task and phase; ``None`` without routers."""
    figures, payload = [], []
    for system, counted in routed(runs, systems):
        figure, data = _figure(counted, system)
        figures.append(figure)
        payload.append(data)
    if not figures:
        return None
    return Section(
        id="routing",
        title="Routing",
        lead="Share of the choices that each expert received, or of the gate weights where every token uses "
        "all experts. The middle color is the chance level, 1 / experts; a strongly colored square is an "
        "expert that the chosen tokens prefer or avoid.",
        template="routing.html.j2",
        data={"figures": figures},
        payloads={"routing-data": pack(payload)},
        pictures=[figure["picture"] for figure in figures],
    )


def _figure(counted: Cells, system: str) -> tuple[dict[str, Any], dict[str, Any]]:
    keys = counted.keys
    tasks = [_ALL, *sorted(keys["task"].astype(str).unique())]
    phases = [_ALL, *sorted(keys["phase"].astype(str).unique(), reverse=True)]
    layers = sorted(int(layer) for layer in keys["layer"].unique())
    projections = in_computing_order(keys["projection"])
    width = counted.count.shape[1]
    order = [(p, layer) for p in projections for layer in layers]
    loads = {}
    for i, task in enumerate(tasks):
        for j, phase in enumerate(phases):
            keep = np.ones(len(keys), dtype=bool)
            if task != _ALL:
                keep &= (keys["task"] == task).to_numpy()
            if phase != _ALL:
                keep &= (keys["phase"] == phase).to_numpy()
            if keep.any():
                loads[f"{i}/{j}"] = _loads(counted.select(keep), order)
    experts, top_k = counted.shape()
    dense, chance = top_k == experts, 1 / experts
    shared = "gate weights" if dense else "choices"
    shares = [value / 10_000 for value in loads["0/0"]]
    busiest = int(np.argmax(shares))
    (projection, layer), expert = order[busiest // width], busiest % width
    most, level = f"{100 * shares[busiest]:.1f}%", f"{100 * chance:.1f}%"
    picture = Picture(
        name=f"load-{file_stem(system)}",
        title=f"Expert load of {system}",
        caption=f"{width} experts, {'all used by every' if dense else f'{top_k} chosen per'} token, "
        f"{len(layers)} layers. Chance level: {level} of the {shared} for every expert.",
        reading=f"Orange experts receive more of the {shared} than chance ({level}), blue ones less. "
        f"Over all tokens the busiest is {projection}, layer {layer}, expert {expert}: {most}.",
        reading_zh=f"橙色专家得到的{'权重' if dense else '选择'}多于随机水平（{level}），蓝色少于随机水平。"
        f"在全部词元上，最忙的是第 {layer} 层 {projection} 的专家 {expert}：{most}。",
        drawing=expert_map(
            projections, layers, width, shares, middle=chance, reach=chance, name=f"Expert load of {system}"
        ),
        ramp=Ramp("0%", f"chance, {level}", f"≥ {200 * chance:.0f}%"),
    )
    figure = {
        "picture": picture,
        "tasks": tasks,
        "phases": ["all tokens" if phase == _ALL else phase for phase in phases],
    }
    return figure, {"chance": chance, "loads": loads}


def _loads(selected: Cells, order: list[tuple[str, int]]) -> list[int]:
    """Load shares in units of 1/10,000, in the order in which the squares are drawn."""
    merged = selected.merge(["projection", "layer"])
    where = {
        (str(row["projection"]), int(row["layer"])): i for i, row in enumerate(merged.keys.to_dict("records"))
    }
    share = np.nan_to_num(load_share(merged.used))
    empty = np.zeros(share.shape[1])
    return [
        round(10_000 * value)
        for key in order
        for value in (share[where[key]] if key in where else empty).tolist()
    ]
