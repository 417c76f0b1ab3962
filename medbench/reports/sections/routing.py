"""Expert load by layer, projection and expert."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup

from medbench.analysis import Runs
from medbench.analysis.router_cells import Cells, cells
from medbench.reports.heatmap import expert_map
from medbench.reports.payload import pack
from medbench.reports.section import Section

__all__ = ["routing"]

_ALL = "all"


def routing(runs: Runs, systems: list[str]) -> Section | None:
    """Heat maps of the expert load, with a choice of task and phase; ``None`` without routers."""
    figures, payload = [], []
    for run, system in zip(runs, systems, strict=True):
        table = run.tables.routing(None)
        if table is None or not table.num_rows:
            continue
        figure, data = _figure(cells(table.to_pandas()), system)
        figures.append(figure)
        payload.append(data)
    if not figures:
        return None
    return Section(
        id="routing",
        title="Routing",
        lead="Share of the choices that each expert received. The middle colour is the chance level, "
        "1 / experts; a strongly coloured square is an expert that the chosen tokens prefer or avoid.",
        template="routing.html.j2",
        data={"figures": figures},
        payloads={"routing-data": pack(payload)},
    )


def _figure(counted: Cells, system: str) -> tuple[dict[str, Any], dict[str, Any]]:
    keys = counted.keys
    tasks = [_ALL, *sorted(keys["task"].astype(str).unique())]
    phases = [_ALL, *sorted(keys["phase"].astype(str).unique(), reverse=True)]
    layers = sorted(int(layer) for layer in keys["layer"].unique())
    projections = [name for name in ("gate", "up", "down") if name in set(keys["projection"])]
    projections += sorted(set(keys["projection"].astype(str)) - set(projections))
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
    chance = 1 / int(counted.experts.max())
    top_k = float(np.nanmean(counted.top_k))
    return {
        "system": system,
        "caption": f"{width} experts, {top_k:.0f} chosen per token, {len(layers)} layers. "
        f"Chance level: {100 * chance:.1f}% of the choices for every expert.",
        "tasks": tasks,
        "phases": ["all tokens" if phase == _ALL else phase for phase in phases],
        "svg": expert_map(
            projections,
            layers,
            width,
            [value / 10_000 for value in loads["0/0"]],
            middle=chance,
            reach=chance,
            name="Expert load",
        ),
        "legend": Markup(
            '<p class="ramp"><span>0%</span><i></i><span>≥ {}%</span><span>middle: chance, {}%</span></p>'
        ).format(f"{200 * chance:.0f}", f"{100 * chance:.1f}"),
    }, {"chance": chance, "loads": loads}


def _loads(selected: Cells, order: list[tuple[str, int]]) -> list[int]:
    """Load shares in units of 1/10,000, in the order in which the squares are drawn."""
    merged = selected.merge(["projection", "layer"])
    where = {
        (str(row["projection"]), int(row["layer"])): i for i, row in enumerate(merged.keys.to_dict("records"))
    }
    share = merged.count / np.maximum(merged.count.sum(axis=1, keepdims=True), 1)
    empty = np.zeros(share.shape[1])
    return [
        round(10_000 * value)
        for key in order
        for value in (share[where[key]] if key in where else empty).tolist()
    ]
