"""Which conditions of two models to compare: those that both were evaluated under."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pandas as pd

from medbench.analysis.conditions import ASKED, COMPUTED
from medbench.analysis.systems import System

# What prompts may say differently once they need not agree.
_PROMPTS = ("chat_template", "num_fewshot", "seed")


def matched(
    first: Sequence[System],
    second: Sequence[System],
    tasks: Collection[str] | None,
    *,
    prompts: bool,
    limits: bool,
) -> tuple[System, System]:
    """The system of either model whose conditions agree, and that share the most documents.

    Args:
        first: Systems of one model, the usual one first.
        second: Systems of the other.
        tasks: Tasks that count; all by default.
        prompts: Whether prompts must agree.
        limits: Whether the number of documents must agree.

    Returns:
        One of each; the usual ones where no conditions agree.
    """
    names = [name for name in ASKED if name != "sources"]
    names = [name for name in names if prompts or name not in _PROMPTS]
    names = [name for name in names if limits or name != "limit"]

    def shared(pair: tuple[System, System]) -> float:
        one, two = pair
        if one.conditions.differing(two.conditions, names):
            return -1.0
        both = [task for task in one.runs if task in two.runs and (tasks is None or task in tasks)]
        sizes = (min(one.sizes[task], two.sizes[task]) for task in both if _one_source(one, two, task))
        return float(sum(sizes))

    pairs = [(one, two) for one in first for two in second]
    return max(pairs, key=shared)  # the first of those that share as many


def differing(one: System, two: System, task: str) -> list[str]:
    """What is known to differ between the conditions of two systems on a task, as texts."""
    names = [name for name in (*ASKED, *COMPUTED) if name != "sources"]
    texts = one.conditions.differences(two.conditions, names)
    if not _one_source(one, two, task):
        sources = [str(side.scores.at[task, "data_source"]) for side in (one, two)]
        texts.append(f"source {sources[0]} against source {sources[1]}")
    return texts


def _one_source(one: System, two: System, task: str) -> bool:
    sources = [side.scores["data_source"].get(task) for side in (one, two) if "data_source" in side.scores]
    known = {source for source in sources if not pd.isna(source)}
    return len(known) < 2
