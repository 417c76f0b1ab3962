"""Tables of routing: by task, token by token, beside the answers, and between checkpoints."""

from __future__ import annotations

import pandas as pd

from medbench.analysis.routing.gains import SharedGains
from medbench.analysis.routing.token_classes import CLASSES
from medbench.reports.columns import (
    Column,
    Row,
    count,
    figure,
    figure_interval,
    p_value,
    percent,
    percent_interval,
    points,
    text,
    texts,
)
from medbench.reports.formats import figure_text, known, p_text
from medbench.reports.tables import TextTable, text_table

_FIGURES = [figure("value"), figure_interval(), figure("chance")]


def routing_table(frame: pd.DataFrame) -> TextTable:
    """The rows of :func:`medbench.analysis.routing.summary.router_summary`."""
    facts = ("metric", "value", "low", "high", "chance", "tokens", "experts", "top_k", "routers", "documents")
    keys = [name for name in frame.columns if name not in facts]
    return text_table(
        frame,
        [*texts(*keys, "metric"), *_FIGURES, count("tokens")],
        "Routing",
        ["Intervals resample documents; runs with --routing tasks have none."],
    )


def similarity_table(frame: pd.DataFrame) -> TextTable:
    """The rows of :func:`medbench.analysis.routing.summary.task_similarity`, a task with itself left out."""
    shown = frame[frame["task"] != frame["other"]].sort_values("similarity", ascending=False, kind="stable")
    columns = [figure("similarity"), figure_interval(), figure("split_half", "split half")]
    return text_table(
        shown,
        [*texts("model", "run", "task", "other"), *columns],
        "Similarity of routing between tasks",
        ["1 - JSD of the loads; split half: of two halves of one task, the most to expect."],
    )


def load_difference_table(frame: pd.DataFrame, first: str, second: str) -> TextTable:
    """The rows of :func:`medbench.analysis.routing.summary.load_difference`, largest differences first.

    Args:
        frame: The loads of both.
        first: Name of the first checkpoint.
        second: Name of the other.
    """
    order = frame["difference"].abs().sort_values(ascending=False, kind="stable").index
    columns = [percent("load"), percent("load_other", "other"), points("difference")]
    return text_table(
        frame.loc[order],
        [*_keys_before(frame, "load"), *columns, percent("load_chance", "chance")],
        "Expert loads compared",
        [
            "Percent of the choices (of a dense gate: of its weights). "
            f"load: {first}; other: {second}; difference: the first minus the other."
        ],
    )


def contrast_table(frame: pd.DataFrame) -> TextTable:
    """The rows of :func:`medbench.analysis.routing.ablation.ablation_contrasts`."""
    changes = [points("change"), points("others", "other kinds"), points("contrast")]
    return text_table(
        frame,
        [*texts("variant", "kind"), count("n"), *changes, percent_interval()],
        "What experts are worth, kind by kind",
        ["Mean change of a kind's documents beside that of all others, in points; without an effect 0."],
    )


def specialization_table(frame: pd.DataFrame) -> TextTable:
    """The rows of :func:`medbench.analysis.routing.specialization`, kinds in a column ``kind``."""
    columns = [percent("rate"), percent_interval(), percent("elsewhere", "other kinds"), percent("chance")]
    return text_table(
        frame,
        [*_keys_before(frame, "rate"), *columns],
        "Experts by kind of task",
        [
            "Percent of the tokens that choose the expert (of a dense gate: its mean weight). "
            "Intervals resample documents."
        ],
    )


def repetition_table(frame: pd.DataFrame) -> TextTable:
    """The rows of :func:`medbench.analysis.routing.token_metrics.repetition`."""
    return text_table(
        frame,
        [*texts("phase", "layer", "projection", "metric"), *_FIGURES],
        "Repetition of experts along the text",
        ["any: neighboring tokens have an expert in common; top1: their first experts are equal."],
    )


def agreement_table(frame: pd.DataFrame) -> TextTable:
    """The rows of :func:`medbench.analysis.routing.token_metrics.checkpoint_agreement`."""
    columns = [figure("observed"), figure("chance"), figure("kappa"), figure_interval(), figure("top1")]
    return text_table(
        frame,
        [*texts("layer", "projection"), *columns, figure("top1_chance", "chance of top1")],
        "Agreement of two checkpoints",
        ["Share of the chosen experts in common, token by token; kappa is 0 at chance and 1 if all agree."],
    )


def classes_table(frame: pd.DataFrame) -> TextTable:
    """The rows of ``class_specialization``, a column per class."""
    tokens = frame.drop_duplicates("class").set_index("class")["tokens"]
    keys = ["layer", "projection", "expert"]
    lines = [
        dict(zip(keys, key, strict=True)) | {row["class"]: row for row in part.to_dict("records")}
        for key, part in frame.groupby(keys, sort=False)
    ]

    def lift(name: str) -> Column:
        return Column(f"{name} ({tokens[name]:,})", lambda line: _lift(line[name]))

    return text_table(
        lines,
        [*texts(*keys), *(lift(name) for name in CLASSES if name in tokens.index)],
        "Experts by class of token",
        [
            "How many times as often as all tokens the tokens of a class choose the expert; chance 1.",
            "+ and -: the 95% interval over documents lies above or below 1. In brackets: tokens of the "
            "class.",
        ],
        data=frame,
    )


def vocabulary_table(frame: pd.DataFrame) -> TextTable:
    """The rows of :func:`medbench.analysis.routing.token_classes.vocabulary_specialization`."""

    def interval(row: Row) -> str:
        return f"[{row['lift_low']:.2f}, {row['lift_high']:.2f}]" if known(row["lift_low"]) else "–"

    columns = [
        *texts("layer", "projection", "expert"),
        Column("item", lambda row: repr(row["text"]), numeric=False),
        text("class"),
        Column("chosen", lambda row: f"{row['count']:,} of {row['tokens']:,}"),
        count("documents"),
        Column("lift", lambda row: f"{row['lift']:.2f}"),
        Column("95% interval", interval),
    ]
    note = (
        "lift: how many times as often as all tokens the item chooses the expert; chance 1. The items are "
        "picked for their lift: of many, some lie high by luck."
    )
    return text_table(frame, columns, "Vocabulary of the experts", [note])


def parts_table(summary: pd.DataFrame, similarity: pd.DataFrame) -> TextTable:
    """Template beside content: a router summary by part, and how alike the parts are routed.

    Args:
        summary: :func:`medbench.analysis.routing.summary.router_summary` by phase, of parts.
        similarity: :func:`medbench.analysis.routing.summary.task_similarity` with the parts as tasks.
    """
    shown = summary[summary["value"].notna()]
    pairs = similarity[similarity["task"] != similarity["other"]]
    lines = shown.rename(columns={"phase": "part"}).to_dict("records") + [
        {
            **row,
            "part": f"{row['task']} ~ {row['other']}",
            "metric": "similarity",
            "value": row["similarity"],
            "chance": row["split_half"],
            "tokens": None,
        }
        for row in pairs.to_dict("records")
    ]
    note = (
        "template: what all prompts of a task begin or end with; content: what lies between. Chance of a "
        "similarity: that of two halves of one part."
    )
    return text_table(
        lines,
        [*texts("part", "metric"), *_FIGURES, count("tokens")],
        "Template and content",
        [note],
        data=pd.concat([shown, pairs], ignore_index=True),
    )


def verdicts_table(frame: pd.DataFrame) -> TextTable:
    """The rows of :func:`medbench.analysis.routing.verdicts.routing_by_verdict`."""
    figures = [count("right"), count("wrong"), figure("divergence"), figure("chance")]
    return text_table(
        frame,
        [*texts("model", "task"), *figures, p_value("p_value", "p"), p_value("p_adjusted", "p (Holm)")],
        "Routing of right and wrong answers",
        ["Bits between the expert loads of right and wrong documents; chance: with the verdicts shuffled."],
    )


def loads_table(frame: pd.DataFrame, *, most: int = 20) -> TextTable:
    """The rows of :func:`medbench.analysis.routing.verdicts.loads_by_verdict`, the clearest first.

    Args:
        frame: The loads.
        most: Rows that are shown.
    """
    shown = frame.sort_values("p_adjusted", kind="stable").head(most)
    columns = [
        *texts("model", "task"),
        Column("expert", lambda row: f"{row['projection']} {row['layer']}.{row['expert']}", numeric=False),
        percent("load_right", "right"),
        percent("load_wrong", "wrong"),
        points("difference"),
        p_value("p_adjusted", "p (maxT)"),
    ]
    note = (
        f"Mean load in percent, without a difference 0; the {len(shown)} clearest of {len(frame):,}. An "
        "expert is written projection layer.number; p is adjusted over all experts of the task."
    )
    return text_table(shown, columns, "Experts of right and wrong answers", [note])


def gains_table(gains: SharedGains, *, most: int = 20) -> TextTable:
    """What :func:`medbench.analysis.routing.gains.shared_gains` found, the most similar tasks first.

    Args:
        gains: What was found.
        most: Pairs of tasks that are shown.
    """
    pairs = gains.pairs.sort_values("similarity", ascending=False, kind="stable")
    shown = pairs.head(most)
    return text_table(
        shown,
        [
            *texts("task", "other"),
            figure("similarity"),
            points("gain"),
            points("gain_other", "gain of other"),
        ],
        "Shared experts and shared gains",
        [
            f"Gains in points; the {len(shown)} most similar of {len(pairs):,} pairs of tasks.",
            f"Correlation of similarity with likeness of gains over all pairs of {gains.tasks} tasks: "
            f"{figure_text(gains.correlation)} (chance 0), p {p_text(gains.p_value)} by Mantel's test.",
        ],
        data=pairs,
    )


def _keys_before(frame: pd.DataFrame, name: str) -> list[Column]:
    return texts(*map(str, frame.columns[: list(frame.columns).index(name)]))


def _lift(row: Row) -> str:
    mark = "+" if row["lift_low"] > 1 else "-" if row["lift_high"] < 1 else " "
    return f"{row['lift']:.2f}{mark}" if known(row["lift"]) else "–"
