"""The error browser: what was asked, what was answered, document by document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from medbench.analysis import Run, Runs
from medbench.analysis.answers import document_values
from medbench.reports.formats import known
from medbench.reports.section import Section, pack

_COLUMNS = ("task", "document", "prompt_hash", "prompt", "target", "response", "answer", "truncated", "score")
_LONGEST = 3_000


def documents(
    runs: Runs, systems: list[str], *, most: int = 10_000, budget: int = 3_000_000
) -> Section | None:
    """Documents with prompts and answers of all systems, to filter and search.

    Args:
        runs: The runs.
        systems: Their names.
        most: Documents at most, spread evenly over tasks and within each task.
        budget: Bytes at most in the page; fewer documents are taken to stay below.
    """
    frames = [_read(run) for run in runs]
    every = sum(len(keys) for keys in _keys(frames).values())
    if not every:
        return None
    limit = min(most, every)
    while True:
        content = _content(frames, systems, limit)
        packed = pack(content)
        if len(packed) <= budget or limit <= 100:
            break
        limit = int(0.9 * limit * budget / len(packed))
    kept = len(content["document"])
    left_out = (
        ""
        if kept == every
        else f" Shown are {kept:,} of {every:,}, evenly spread; samples.parquet holds all of them."
    )
    return Section(
        id="documents",
        title="Documents",
        lead=f"Every document with what was asked and answered; choose errors, flips or words.{left_out}",
        template="documents.html.j2",
        data={"systems": systems, "tasks": content["tasks"], "n": kept},
        payloads={"documents-data": packed},
    )


def _read(run: Run) -> pd.DataFrame:
    columns = run.tables.sample_columns()
    wanted = [*_COLUMNS, *(name for name in columns if name.startswith(("counts.", "labels.")))]
    frame = run.samples(wanted)
    frame["task"] = frame["task"].astype(str)
    frame["value"] = document_values(frame)
    indexed: pd.DataFrame = frame.drop_duplicates(["task", "document"]).set_index(
        ["task", "document"], drop=False
    )
    return indexed


def _keys(frames: list[pd.DataFrame]) -> dict[str, list[str]]:
    """Documents of each task, in the order in which the first system has them."""
    found: dict[str, dict[str, None]] = {}
    for frame in frames:
        for task, document in zip(frame["task"], frame["document"], strict=True):
            found.setdefault(task, {})[document] = None
    return {task: list(keys) for task, keys in found.items()}


def _content(frames: list[pd.DataFrame], systems: list[str], limit: int) -> dict[str, Any]:
    keys = _keys(frames)
    tasks = list(keys)
    chosen = [(t, key) for t, task in enumerate(tasks) for key in _spread(keys, task, limit)]
    index = [(tasks[t], key) for t, key in chosen]
    aligned = [frame.reindex(pd.MultiIndex.from_tuples(index)) for frame in frames]
    prompts, targets, hashes = (_first(aligned, name) for name in ("prompt", "target", "prompt_hash"))
    return {
        "systems": systems,
        "tasks": tasks,
        "task": [t for t, _ in chosen],
        "document": [key for _, key in chosen],
        "prompt": [_shorten(text) for text in prompts],
        "target": [_shorten(text) for text in targets],
        "answers": [_answers(frame, hashes) for frame in aligned],
    }


def _spread(keys: dict[str, list[str]], task: str, limit: int) -> Iterator[str]:
    """Evenly spaced documents of a task, as many as its fair part of the limit."""
    sizes = sorted(len(documents) for documents in keys.values())
    room, quota = limit, 0
    for i, size in enumerate(sizes):
        # Small tasks are taken whole; the larger ones share what they leave.
        quota = max(1, room // (len(sizes) - i))
        if size > quota:
            break
        room -= size
        quota = size
    mine = keys[task]
    count = min(len(mine), quota)
    for position in np.unique(np.linspace(0, len(mine) - 1, count).round().astype(int)):
        yield mine[int(position)]


def _first(frames: list[pd.DataFrame], column: str) -> list[Any]:
    values = frames[0][column]
    for frame in frames[1:]:
        values = values.where(values.notna(), frame[column])
    return [value if isinstance(value, str) else "" for value in values]


def _answers(frame: pd.DataFrame, hashes: list[Any]) -> dict[str, list[Any]]:
    return {
        "response": [_shorten(text) for text in frame["response"]],
        "answer": [_shorten(text) for text in frame["answer"]],
        "value": [round(value, 3) if known(value) else None for value in frame["value"].tolist()],
        "cut": [
            int(value is True or value == 1) if not pd.isna(value) else 0 for value in frame["truncated"]
        ],
        "other": [
            int(isinstance(own, str) and own != hashes[i]) for i, own in enumerate(frame["prompt_hash"])
        ],
    }


def _shorten(text: Any) -> str | None:
    if not isinstance(text, str):
        return None
    if len(text) <= _LONGEST:
        return text
    head, tail = text[: 2 * _LONGEST // 3], text[-_LONGEST // 3 :]
    return f"{head}\n[… {len(text) - len(head) - len(tail):,} characters left out …]\n{tail}"
