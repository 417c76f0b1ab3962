"""Small data sets in every local form that lm-eval reads."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

__all__ = ["write_data"]

_WORDS = ["aspirin", "table", "codeine", "window", "insulin", "carpet", "heparin", "bottle"]
_NOTES = ["Fever for two days, then none.", "Cough; no fever at all.", "Pain in the left knee.", "Well."]


def rows(first: int, n: int) -> list[dict[str, Any]]:
    """Documents with a column for every use; no two alike."""
    found = []
    for i in range(first, first + n):
        word, note = _WORDS[i % len(_WORDS)], _NOTES[i % len(_NOTES)]
        found.append(
            {
                "word": word,
                "label": int(i % 2 == 0),
                "name": "yes" if i % 2 == 0 else "no",
                "question": f"Which of these is number {i}?",
                "choices": [f"{word} {i}", f"a {word}", "neither", "both of them"],
                "gold": i % 4,
                "golds": [i % 4, (i + 1) % 4],
                "note": f"{note} ({i})",
                "summary": f"{note.split()[0]} in case {i}",
                "answers": [f"{i}", word],
                "sentence": f"The patient takes {word} every day in week {i}.",
                "id": i % 3,  # a column of this name need not tell documents apart
            }
        )
    return found


def write_data(folder: Path) -> None:
    """Write the splits as json lines, csv, parquet, arrow and a saved dataset."""
    import datasets

    splits = {"train": rows(20, 6), "dev": rows(40, 4), "test": rows(0, 7)}
    for name, documents in splits.items():
        lines = [json.dumps(document) for document in documents]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            columns = ["word", "label", "name", "question", "note"]
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(documents)
    saved = datasets.DatasetDict({name: datasets.Dataset.from_list(part) for name, part in splits.items()})
    saved.save_to_disk(folder / "saved")
    saved["test"].to_parquet(folder / "test.parquet")
