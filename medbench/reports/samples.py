"""The warning that scores come from the samples that travel with the package."""

from __future__ import annotations

import pandas as pd

__all__ = ["SAMPLES_NOTE", "samples_note", "samples_warning"]

SAMPLES_NOTE = "Bundled samples, not a benchmark score."


def samples_note(scores: pd.DataFrame) -> str:
    """Which of some scores come from bundled samples, as a line; empty if none does.

    Args:
        scores: Rows with ``model``, ``task`` and ``data_source``.
    """
    told = _told(scores)
    return (
        SAMPLES_NOTE
        if told == "all"
        else f"From bundled samples, no benchmark scores: {told}."
        if told
        else ""
    )


def samples_warning(scores: pd.DataFrame) -> str:
    """The same at length, after the words of :data:`SAMPLES_NOTE`.

    Args:
        scores: Rows with ``model``, ``task``, ``kind`` and ``data_source``.
    """
    told = _told(scores[scores["kind"] == "task"])
    if told == "all":
        return (
            "Every score here comes from the few hand-written documents that travel with the package. "
            "They show that everything works, and say nothing about medicine."
        )
    return f"So it is with {told}; all other scores come from elsewhere." if told else ""


def _told(scores: pd.DataFrame) -> str:
    sampled = scores["data_source"] == "samples"
    if not sampled.any():
        return ""
    if sampled.all():
        return "all"
    told = {str(name): _of_model(rows) for name, rows in scores.groupby("model", sort=False, observed=True)}
    if len(set(told.values())) == 1:
        return next(iter(told.values()))
    return "; ".join(f"{text} of {name}" for name, text in told.items() if text)


def _of_model(scores: pd.DataFrame) -> str:
    sampled = scores["data_source"] == "samples"
    if sampled.all():
        return "all"
    return ", ".join(scores.loc[sampled, "task"].astype(str).unique())
