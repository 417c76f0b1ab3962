"""What experts are for and what they are worth: specialization by kind of task, and ablations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medbench.analysis import Runs
from medbench.analysis.routing.ablation import ablation_contrasts, find_ablations, read_ablation
from medbench.analysis.routing.by_kind import regrouped, specialization, task_groups
from medbench.analysis.routing.cells import Cells
from medbench.reports.charts.picture import Picture, file_stem
from medbench.reports.charts.svg import Cell, value_map
from medbench.reports.formats import interval_text, known, percent_text, signed_text
from medbench.reports.section import Section, picture_section, routed

_MOST = 64  # rows of one picture


def specialized(runs: Runs, systems: list[str], *, draws: int = 200) -> Section | None:
    """How often the tokens of each kind of task choose each expert; ``None`` without routers."""
    groups = task_groups(runs)
    figures = []
    for system, counted in routed(runs, systems):
        kinds = regrouped(counted.named(system), groups)
        if len(kinds.keys):
            figures.append(_specialized(kinds, system, draws))
    if not figures:
        return None
    return picture_section(
        "routing-kinds",
        "Experts by kind of task",
        "Share of the tokens of a kind of task (language and family) that choose an expert: orange is more "
        "than chance, blue less. A frame marks rates whose 95% interval, over resampled documents, lies "
        "above chance (not in runs with --routing tasks or of more than three million rows).",
        figures,
    )


def _specialized(kinds: Cells, system: str, draws: int) -> Picture:
    across = specialization(kinds, across_routers=True, draws=draws)
    each = specialization(kinds, draws=draws)
    chance = float(across["chance"].iloc[0])
    experts = sorted(across["expert"].unique())
    rows, cells = [], []
    for kind, part in across.groupby("task", sort=True):
        single = each[each["task"] == kind]
        beyond = int((single["low"] > chance).sum())
        rows.append(str(kind))
        values = part.set_index("expert")
        cells.append(
            [_rate_cell(f"{kind}, expert {expert}", values.loc[expert], chance) for expert in experts]
            + [Cell(chance, f"{beyond}/{len(single)}", f"{kind}: {beyond} experts beyond chance")]
        )
    most = across.nlargest(1, "rate").iloc[0]
    level, rate = f"{100 * chance:.0f}%", f"{100 * most['rate']:.0f}%"
    return Picture(
        name=f"kinds-{file_stem(system)}",
        title=f"Experts by kind of task in {system}",
        caption="Means over all routers, expert by expert; the last column counts the experts of single "
        f"routers whose interval lies above chance. Chance: {level} of the tokens.",
        reading=f"Orange is more than chance ({level}), blue less; framed rates are above it beyond "
        f"doubt (95%). Strongest: {most['task']}, expert {most['expert']}: {rate} of the tokens.",
        reading_zh=f"橙色高于随机水平（{level}），蓝色低于随机水平；带框者在 95% 水平上确实高于随机。"
        f"最强的偏好：{most['task']} 的词元有 {rate} 选择专家 {most['expert']}。",
        drawing=value_map(
            rows,
            [*(str(expert) for expert in experts), "beyond"],
            cells,
            middle=chance,
            reach=max(chance, 1 - chance) / 2,
            name=f"Share of tokens that choose each expert, {system}: rows are kinds of tasks",
        ),
    )


def _rate_cell(where: str, row: Any, chance: float) -> Cell:
    title = f"{where}: {percent_text(row['rate'])}% {interval_text(row['low'], row['high'], 'share')}"
    title += f", other kinds {percent_text(row['elsewhere'])}%, chance {percent_text(chance)}%"
    return Cell(float(row["rate"]), f"{100 * row['rate']:.0f}", title, framed=bool(row["low"] > chance))


def ablations(runs: Runs) -> Section | None:
    """The ablations that lie beside the runs; ``None`` if there are none."""
    folders = dict.fromkeys(folder for run in runs for folder in find_ablations(run))
    return ablation_section(list(folders)) if folders else None


def ablation_section(folders: Sequence[Path]) -> Section:
    """What each kind of task loses when experts are taken away."""
    return picture_section(
        "ablation",
        "What experts are worth",
        "Change of the mean score of a kind's documents when routers are changed, in points: blue is a loss, "
        "orange a gain, 0 is no effect. A frame marks kinds that lose more than all others do: the 95% "
        "interval of the difference, over resampled documents, lies below 0.",
        [_ablation(folder) for folder in folders],
    )


def _ablation(folder: Path) -> Picture:
    frame = ablation_contrasts(read_ablation(folder))
    variants = list(frame["variant"].unique())
    kinds = sorted(frame["kind"].unique())
    shown = variants[:_MOST]
    at = {(row["variant"], row["kind"]): row for row in frame.to_dict("records")}
    reach = max(0.05, float(frame["change"].abs().max()))
    left_out = f" The first {_MOST} of {len(variants)} variants." if len(variants) > _MOST else ""
    sizes = ", ".join(f"{kind} {at[variants[0], kind]['n']}" for kind in kinds)
    least = frame.nsmallest(1, "change").iloc[0]
    change = signed_text(least["change"], "share")
    return Picture(
        name=f"ablation-{file_stem(folder.parent.name)}-{file_stem(folder.name)}",
        title=f"Ablations of {folder.parent.name}",
        caption=f"Documents: {sizes}.{left_out}",
        reading="Blue is a loss in points, orange a gain; without an effect 0. Framed kinds lose more "
        f"than all others do (95%). Largest loss: {least['variant']}, {least['kind']}: {change}.",
        reading_zh="蓝色为损失（百分点），橙色为提高；没有影响时为 0。带框的类别比其他类别损失更多（95%）。"
        f"损失最大：{least['variant']}，{least['kind']}：{change}。",
        drawing=value_map(
            shown,
            kinds,
            [[_change_cell(at[variant, kind]) for kind in kinds] for variant in shown],
            middle=0,
            reach=reach,
            name=f"Change of the score when routers are changed, {folder.parent.name}: rows are variants",
        ),
    )


def _change_cell(row: dict[Any, Any]) -> Cell:
    title = f"{row['variant']}, {row['kind']}: {signed_text(row['change'], 'share')}; "
    title += f"others {signed_text(row['others'], 'share')}; "
    title += f"contrast {signed_text(row['contrast'], 'share')} "
    title += interval_text(row["low"], row["high"], "share")
    framed = known(row["high"]) and row["high"] < 0
    return Cell(float(row["change"]), signed_text(row["change"], "share"), title, framed=framed)
