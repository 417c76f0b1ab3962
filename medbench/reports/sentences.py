"""Sentences that tables and pages have in common: warnings, conditions, and what a comparison amounts to."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

SAMPLES_NOTE = "Bundled samples, not a benchmark score."

#: What bold scores and numbers in brackets mean.
BEST_NOTE = (
    "Bold: the best of two or more that were asked the same number of documents from the same source under "
    "the same conditions. In brackets: documents of a score, where they differ."
)

#: How the figures of a comparison were found.
TESTS_NOTE = (
    "Paired on the same documents. p and the 95% interval belong to one task alone: exact McNemar for right "
    "and wrong, randomization otherwise; of a group by the errors of its tasks. The verdict follows p "
    "adjusted over the tasks of a model (Holm); that of a group, which is no further test, its own p. "
    "detectable: the true difference that this many documents show with 80% power."
)

# Tasks named in a summary; the others are counted.
_NAMED = 8


def samples_note(scores: pd.DataFrame) -> str:
    """Which of some scores come from bundled samples, as a line; empty if none does.

    Args:
        scores: Rows with ``model``, ``task`` and ``data_source``.
    """
    sampled = _sampled(scores)
    if not sampled:
        return ""
    return SAMPLES_NOTE if sampled == "all" else f"From bundled samples, no benchmark scores: {sampled}."


def samples_warning(scores: pd.DataFrame) -> str:
    """The same at length, after the words of :data:`SAMPLES_NOTE`.

    Args:
        scores: Rows with ``model``, ``task``, ``kind`` and ``data_source``.
    """
    sampled = _sampled(scores[scores["kind"] == "task"])
    if sampled == "all":
        return (
            "Every score here comes from the few hand-written documents that travel with the package. "
            "They show that everything works, and say nothing about medicine."
        )
    return f"This holds for {sampled}; all other scores come from elsewhere." if sampled else ""


def _sampled(scores: pd.DataFrame) -> str:
    sampled = scores["data_source"] == "samples"
    if not sampled.any():
        return ""
    if sampled.all():
        return "all"
    named = {str(name): _of_model(rows) for name, rows in scores.groupby("model", sort=False, observed=True)}
    if len(set(named.values())) == 1:
        return next(iter(named.values()))
    return "; ".join(f"{text} of {name}" for name, text in named.items() if text)


def _of_model(scores: pd.DataFrame) -> str:
    sampled = scores["data_source"] == "samples"
    return "all" if sampled.all() else ", ".join(scores.loc[sampled, "task"].astype(str).unique())


def conditions_of_scores(frame: pd.DataFrame) -> list[str]:
    """Where the scores of a table come from, and under what conditions its systems were asked.

    Args:
        frame: Rows with ``model``, ``task``, ``kind``, ``data_source`` and ``conditions``.
    """
    notes = [note] if (note := samples_note(frame[frame["kind"] == "task"])) else []
    return notes + _conditions(dict(zip(frame["model"], frame["conditions"], strict=True)))


def conditions_notes(frame: pd.DataFrame) -> list[str]:
    """The conditions of both sides of a comparison, once where they are the same, and what differs.

    Args:
        frame: Rows of :func:`medbench.analysis.compare`.
    """
    lines = dict(zip(frame["baseline"], frame["baseline_conditions"], strict=True))
    notes = _conditions(lines | dict(zip(frame["model"], frame["conditions"], strict=True)))
    for (model, baseline, text), rows in frame.groupby(["model", "baseline", "differing"], sort=False):
        if text:
            tasks = rows.loc[rows["kind"] == "task", "task"]
            every = ((frame["model"] == model) & (frame["kind"] == "task")).sum()
            where = f" in {', '.join(map(str, tasks))}" if 0 < len(tasks) < every else ""
            notes.append(f"{model} and {baseline} were not evaluated alike{where}: {text}.")
    return notes


def _conditions(lines: dict[str, str]) -> list[str]:
    if len(set(lines.values())) == 1:
        return [f"All under: {next(iter(lines.values()))}."]
    return [f"{name}: {line}." for name, line in lines.items()]


def sources_notes(frame: pd.DataFrame, model: str) -> list[str]:
    """A line per source of published values, with the models that it speaks of.

    Args:
        frame: Rows with ``source`` and ``note``.
        model: Column with the published model.
    """
    models: dict[tuple[str, str], dict[str, None]] = {}
    for name, source, note in zip(frame[model], frame["source"], frame["note"], strict=True):
        models.setdefault((str(source), str(note)), {})[str(name)] = None
    return [
        f"{', '.join(names)}: {source}{f'; {note}' if note else ''}."
        for (source, note), names in models.items()
    ]


def verdict_summary(rows: pd.DataFrame, kind: str = "task") -> str:
    """Which tasks of one model became better or worse, by p alone and after adjustment.

    Args:
        rows: Rows of one model of :func:`medbench.analysis.compare`, or of ``compare_cells``.
        kind: ``task``, or ``cell`` for the cells of tasks.
    """
    tasks = rows[rows["kind"] == kind]
    if kind == "cell":
        tasks = tasks.assign(task=tasks["task"].astype(str) + " " + tasks["cell"].astype(str))
    judged = tasks[tasks["verdict"] != "refused"]
    refused = len(tasks) - len(judged)
    parts = [
        f"{_found(judged, 'unadjusted')} by p alone",
        f"{_found(judged, 'verdict')} after adjustment for {_count(len(judged), 'test')}",
        f"{int((judged['verdict'] == 'undecided').sum())} undecided",
    ]
    if refused:
        parts.append(f"{refused} not compared")
    first = rows.iloc[0]
    return f"{first['model']} beside {first['baseline']}, {_count(len(tasks), kind)}: {'; '.join(parts)}."


def _found(tasks: pd.DataFrame, column: str) -> str:
    parts = []
    for verdict in ("worse", "better"):
        names = [str(name) for name in tasks.loc[tasks[column] == verdict, "task"]]
        parts.append(f"{len(names)} {verdict}{f' ({_listed(names)})' if names else ''}")
    return " and ".join(parts)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
