"""The warning that scores come from the samples that travel with the package."""

from __future__ import annotations

import pandas as pd

__all__ = ["SAMPLES_NOTE", "samples_note"]

SAMPLES_NOTE = "Bundled samples, not a benchmark score."


def samples_note(scores: pd.DataFrame) -> str:
    """Which of some scores come from bundled samples; empty if none does.

    Args:
        scores: Rows with ``model``, ``task`` and ``data_source``.
    """
    sampled = scores["data_source"] == "samples"
    if not sampled.any():
        return ""
    if sampled.all():
        return SAMPLES_NOTE
    told = {str(name): _of_model(rows) for name, rows in scores.groupby("model", sort=False, observed=True)}
    if len(set(told.values())) == 1:
        return f"From bundled samples, no benchmark scores: {next(iter(told.values()))}."
    by_model = "; ".join(f"{text} of {name}" for name, text in told.items() if text)
    return f"From bundled samples, no benchmark scores: {by_model}."


def _of_model(scores: pd.DataFrame) -> str:
    sampled = scores["data_source"] == "samples"
    if sampled.all():
        return "all"
    return ", ".join(scores.loc[sampled, "task"].astype(str).unique())
