"""Scores, intervals and sizes as a run prints and stores them."""

from __future__ import annotations

from functools import cache
from typing import Any

from tests.truth import plain
from tests.truth.ledger import Key, Shown, Truth, exactly, rows_shown, text_rows
from tests.truth.runs import Made

# Means whose interval is resampled, as docs/results.md says.
RESAMPLED = ("rouge_", "bleu_")


@cache
def expected_scores(made: Made) -> dict[tuple[str, str], tuple[Truth, Truth, Truth, int, str]]:
    """Value, limits, size and method of every row, from the documents alone."""
    found: dict[tuple[str, str], tuple[Truth, Truth, Truth, int, str]] = {}
    for (task, metric), row in made.rows.items():
        if row["kind"] == "group":
            continue
        mine = made.tasks[task]
        values, clusters = mine.values.get(metric, []), mine.clusters
        if metric == "acc_circular":
            values, clusters = rotated(made, task)
        low, high, method = plain.interval(
            values, row["aggregation"], clusters, resampled=metric.startswith(RESAMPLED)
        )
        value = exactly(plain.corpus(values, row["aggregation"]))
        found[task, metric] = (value, low, high, len(values), method)
    waiting = [key for key in made.rows if key not in found]
    while waiting:
        done = {task: found[task, metric] for task, metric in found if made.rows[task, metric]["main"]}
        ready = [key for key in waiting if all(name in done for name in made.rows[key]["members"])]
        assert ready, f"groups without members: {waiting}"
        for key in ready:
            parts = [done[name] for name in made.rows[key]["members"]]
            sizes = [float(part[3]) if key[1] == "weighted_average" else 1.0 for part in parts]
            shares = [size / sum(sizes) for size in sizes]
            middle, low, high = plain.mover(
                shares, [part[0].least for part in parts], [part[1] for part in parts], [p[2] for p in parts]
            )
            found[key] = (exactly(middle), low, high, sum(part[3] for part in parts), "mover")
            waiting.remove(key)
    return found


def rotated(made: Made, task: str) -> tuple[list[float], list[str]]:
    """Whether each question was answered rightly in every rotation of its options."""
    mine, right = made.tasks[task], dict[str, bool]()
    for document, verdict in zip(mine.documents, mine.values["acc"], strict=True):
        question = document.rpartition("@")[0]
        right[question] = right.get(question, True) and verdict == 1.0
    return [float(all_right) for all_right in right.values()], list(right)


def check_printed(made: Made) -> int:
    """Compare what `run --json` printed and what is stored with the documents."""
    shown = rows_shown(f"run --json of {made.model}", made.printed["scores"], "task", "metric")
    stored = rows_shown("scores.parquet", stored_rows(made), "task", "metric")
    for key, (value, low, high, n, method) in expected_scores(made).items():
        row = made.rows[key]
        for cells in (shown, stored):
            cells.number((*key, "value"), value)
            cells.number((*key, "low"), low)
            cells.number((*key, "high"), high)
            cells.number((*key, "n"), n)
        assert row["interval"] == (method if low.known else "none"), key
    return shown.closed("num_fewshot") + stored.closed("num_fewshot")


def stored_rows(made: Made) -> list[dict[str, Any]]:
    """The rows of `scores.parquet` with null for what is missing."""
    frame = made.scores.drop(columns="members").astype(object)
    rows: list[dict[Any, Any]] = frame.where(frame.notna(), None).to_dict("records")
    return rows


def check_table(made: Made, text: str) -> int:
    """Compare the table that a run prints with the documents."""
    rows = text_rows(text)
    by_place: dict[Key, Any] = {
        (row["task"], row["metric"].removesuffix(" (number)"), name): cell
        for row in rows
        for name, cell in row.items()
    }
    table = Shown(f"run of {made.model}", by_place)
    expected = expected_scores(made)
    wanted = [key for key in made.rows if made.rows[key]["main"] or key[1] == "acc_circular"]
    for key in wanted:
        value, low, high, n, _ = expected[key]
        share = made.rows[key]["unit"] == "share"
        scale, digits = (100, None) if share else (1, 4)
        table.number((*key, "score"), value * scale, digits=digits)
        table.several((*key, "95% interval"), low * scale, high * scale, digits=digits)
        table.number((*key, "n"), n)
        assert rows[wanted.index(key)]["metric"].endswith("(number)") != share
    assert len(rows) == len(wanted)
    return table.closed("task", "metric")
