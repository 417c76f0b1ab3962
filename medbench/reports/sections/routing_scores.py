"""Routing beside the scores: right and wrong answers, and gains that tasks share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from medbench.analysis import Runs
from medbench.analysis.routing.gains import SharedGains, shared_gains
from medbench.analysis.routing.tables import NotRecordedError
from medbench.analysis.routing.verdicts import routing_by_verdict
from medbench.reports.charts.picture import Picture, file_stem
from medbench.reports.charts.svg import Cell, scatter, value_map
from medbench.reports.formats import known, p_text, signed_text
from medbench.reports.section import MOST_ROWS, Section, picture_section

_SURE = 0.05


def routing_scores(runs: Runs, systems: Sequence[str]) -> Section | None:
    """Whether right documents are routed differently, and whether tasks that share experts share gains.

    The first needs runs that recorded single documents, the second two checkpoints on the same four tasks.
    """
    figures = []
    for run, system in zip(runs, systems, strict=True):
        try:
            frame = routing_by_verdict(Runs((run,)), most=MOST_ROWS)
        except NotRecordedError:
            continue  # it recorded no single documents
        if not frame.empty:
            figures.append(_verdicts(frame, system))
    if len(runs) > 1:
        try:
            gains = shared_gains(runs.runs[-1], runs.runs[0])
        except NotRecordedError:
            pass  # no routing, or too few tasks in common
        else:
            if known(gains.correlation):
                figures.append(_gains(gains, systems[-1], systems[0]))
    if not figures:
        return None
    return picture_section(
        "routing-scores",
        "Routing and scores",
        "Whether right and wrong documents use experts differently (verdicts shuffled over the documents "
        "tell chance), and whether tasks that share experts gained alike from one checkpoint to the other.",
        figures,
    )


def _verdicts(frame: pd.DataFrame, system: str) -> Picture:
    ordered = frame.sort_values("p_value", kind="stable")
    above = ordered["divergence"] - ordered["chance"]
    reach = max(1e-6, float(above.abs().max()))
    cells = []
    for row in ordered.to_dict("records"):
        title = f"{row['task']}: {_milli(row['divergence'])} against {_milli(row['chance'])} mbit by chance, "
        title += f"p {p_text(row['p_value'])}, over all tasks {p_text(row['p_adjusted'])}"
        sure = row["p_adjusted"] < _SURE
        cells.append(
            [
                Cell(row["divergence"] - row["chance"], _milli(row["divergence"]), title, framed=sure),
                Cell(0.0, _milli(row["chance"])),
                Cell(0.0, p_text(row["p_adjusted"])),
            ]
        )
    clear = int((ordered["p_adjusted"] < _SURE).sum())
    first = ordered.iloc[0]
    found, chance = _milli(first["divergence"]), _milli(first["chance"])
    return Picture(
        name=f"verdicts-{file_stem(system)}",
        title=f"Routing of right and wrong answers in {system}",
        caption="Jensen-Shannon divergence of the expert loads of right and wrong documents, mean over "
        "routers, in thousandths of a bit; p by permutation, adjusted over the tasks (Holm).",
        reading=f"Orange tasks route right and wrong answers more differently than chance. {clear} of "
        f"{len(frame)} do so beyond doubt (framed). Clearest: {first['task']}, {found} against {chance} by "
        "chance.",
        reading_zh=f"橙色任务中，答对与答错的文档路由差异大于随机水平。{len(frame)} 个任务中有 {clear} 个"
        f"确实如此（带框）。最明显的是 {first['task']}：{found}，随机水平为 {chance}。",
        drawing=value_map(
            [str(task) for task in ordered["task"]],
            ["divergence", "chance", "p"],
            cells,
            middle=0.0,
            reach=reach,
            name=f"Divergence of right and wrong documents in {system}: rows are tasks",
        ),
    )


def _gains(gains: SharedGains, later: str, earlier: str) -> Picture:
    points = [_point(row) for row in gains.pairs.to_dict("records")]
    r = f"{gains.correlation:.2f}".replace("-", "−")
    p = p_text(gains.p_value)
    p = p if p.startswith("<") else f"= {p}"
    return Picture(
        name=f"gains-{file_stem(later)}-{file_stem(earlier)}",
        title=f"Shared experts and shared gains, {later} − {earlier}",
        caption=f"A dot per pair of {gains.tasks} tasks: similarity of their expert loads, and how far "
        "apart their gains are, in points.",
        reading="Dots that fall to the right: tasks that share experts gain alike. Correlation with "
        f"likeness {r}; chance 0; p {p} (Mantel).",
        reading_zh=f"点越往右越低，说明共用专家的任务提升越接近。相关系数 {r}；随机水平为 0；"
        f"p {p}（Mantel 检验）。",
        drawing=scatter(
            points, x="similarity of the loads", y="gains apart", name="Shared experts and shared gains"
        ),
    )


def _point(row: dict[Any, Any]) -> tuple[float, float, str]:
    title = (
        f"{row['task']} ({signed_text(row['gain'], 'share')}) and {row['other']} "
        f"({signed_text(row['gain_other'], 'share')}), "
    )
    return float(row["similarity"]), 100 * float(row["apart"]), f"{title}similarity {row['similarity']:.3f}"


def _milli(value: float) -> str:
    return f"{1000 * value:.1f}"
