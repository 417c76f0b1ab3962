"""Which experts are chosen together."""

from __future__ import annotations

import numpy as np

from medbench.analysis import Runs
from medbench.analysis.routing import metrics
from medbench.analysis.routing.cells import Cells
from medbench.reports.charts.picture import Picture, Ramp, file_stem
from medbench.reports.charts.svg import pair_maps
from medbench.reports.section import Section, in_computing_order, picture_section, routed

_MOST = 12  # routers of one picture
_COLUMNS = 6


def routing_pairs(runs: Runs, systems: list[str]) -> Section | None:
    """Expert beside expert for the routers that are farthest from chance; ``None`` without routers.

    Routers are not averaged: expert 1 of one has nothing to do with expert 1 of another.
    """
    figures = []
    for system, counted in routed(runs, systems):
        merged = counted.merge(["layer", "projection"])
        # With one expert per token, or as many as there are, no pair says anything.
        if ((merged.top_k > 1) & (merged.top_k < merged.experts)).all():
            figures.append(_figure(merged, system))
    if not figures:
        return None
    return picture_section(
        "routing-pairs",
        "Experts chosen together",
        "Of the tokens that choose one expert (row), the share that choose another beside it (column): all "
        "pairs of the chosen set, over all tasks. A router that picks at random gives (k − 1) / (E − 1).",
        figures,
    )


def _figure(merged: Cells, system: str) -> Picture:
    shares = metrics.coactivation(merged.coactive)
    chance = float(np.mean(metrics.coactivation_chance(merged.experts, merged.top_k)))
    apart = np.nanmean(np.abs(shares - chance), axis=(1, 2))
    keys = [(str(row["projection"]), int(row["layer"])) for row in merged.keys.to_dict("records")]
    names = [f"{projection} {layer}" for projection, layer in keys]
    order = in_computing_order(projection for projection, _ in keys)
    shown = sorted(
        np.argsort(-apart, kind="stable")[:_MOST].tolist(),
        key=lambda place: (keys[place][1], order.index(keys[place][0])),
    )
    top = min(1.0, max(2 * chance, float(np.nanmax(shares[shown]))))
    router, i, j = (int(place) for place in np.unravel_index(np.nanargmax(shares), shares.shape))
    level, most = f"{100 * chance:.1f}%", f"{100 * shares[router, i, j]:.0f}%"
    key = merged.keys.iloc[router]
    which = (
        "All routers" if len(names) <= _MOST else f"The {_MOST} of {len(names)} routers farthest from chance"
    )
    return Picture(
        name=f"pairs-{file_stem(system)}",
        title=f"Experts chosen together in {system}",
        caption=f"{which}, by projection and layer. Chance level: {level}.",
        reading=f"Orange pairs are chosen together more often than chance ({level}), blue ones less. "
        f"Closest: {key['projection']}, layer {key['layer']}, {most} of the tokens of expert {i} choose "
        f"expert {j} too.",
        reading_zh=f"橙色的一对专家被同时选中的次数多于随机水平（{level}），蓝色则更少。最紧密："
        f"第 {key['layer']} 层 {key['projection']} 中，选择专家 {i} 的词元有 {most} 也选择专家 {j}。",
        drawing=pair_maps(
            {names[place]: shares[place].tolist() for place in shown},
            columns=_COLUMNS,
            middle=chance,
            top=top,
            name=f"Co-activation of experts in {system}",
        ),
        ramp=Ramp("0%", f"chance, {level}", f"{100 * top:.0f}%"),
    )
