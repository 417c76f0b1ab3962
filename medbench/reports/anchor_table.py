"""Own scores beside published values."""

from __future__ import annotations

import pandas as pd

from medbench.reports.formats import score_text
from medbench.reports.tables import TextTable

__all__ = ["anchor_table", "register_table"]

_NOTE = (
    "Scores in percent. A published value can be set beside an own one only where nothing differs; even then "
    "another prompt, or another way to read answers, may hide behind the same name."
)


def anchor_table(frame: pd.DataFrame) -> TextTable:
    """The rows of :func:`medbench.analysis.anchors.anchors_beside`."""
    rows = [
        [
            str(row["model"]),
            str(row["task"]),
            score_text(row["value"], "share"),
            f"{row['n']:,}",
            str(row["published"]),
            score_text(row["published_value"], "share"),
            str(row["differs"]) or "nothing known",
        ]
        for row in frame.to_dict("records")
    ]
    headers = ["model", "task", "score", "n", "published model", "value", "what differs"]
    sources = dict.fromkeys(zip(frame["published"], frame["source"], frame["note"], strict=True))
    notes = [_NOTE, *_sources([(str(a), str(b), str(c)) for a, b, c in sources])]
    numeric = [False, False, True, True, False, True, False]
    return TextTable(headers, rows, numeric, notes, "Beside published values", data=frame, keys=2)


def register_table(frame: pd.DataFrame) -> TextTable:
    """All published values of the register, a row each."""
    rows = [
        [
            str(row["model"]),
            str(row["task"]),
            score_text(row["value"], "share"),
            "not stated" if pd.isna(row["n"]) else f"{row['n']:,.0f}" + ("*" if row["inferred"] else ""),
            str(row["num_fewshot"]),
            str(row["protocol"]),
            str(row["split"]),
        ]
        for row in frame.to_dict("records")
    ]
    headers = ["model", "task", "value", "n", "few-shot", "protocol", "split"]
    sources = dict.fromkeys(zip(frame["model"], frame["source"], frame["note"], strict=True))
    notes = ["* The number of documents follows from the printed values alone."]
    notes += _sources([(str(a), str(b), str(c)) for a, b, c in sources])
    numeric = [False, False, True, True, True, False, False]
    return TextTable(headers, rows, numeric, notes, "Published values", data=frame, keys=2)


def _sources(told: list[tuple[str, str, str]]) -> list[str]:
    """A line per source with the models that it speaks of."""
    models: dict[tuple[str, str], list[str]] = {}
    for model, source, note in told:
        models.setdefault((source, note), []).append(model)
    return [
        f"{', '.join(dict.fromkeys(names))}: {source}{f'; {note}' if note else ''}."
        for (source, note), names in models.items()
    ]
