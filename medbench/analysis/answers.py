"""What single answers show: verdicts, calibration, confusions, how many could be read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from medbench.analysis.runs import Run, Runs
from medbench.statistics import Bin, brier_score, expected_calibration_error, reliability
from medbench.statistics.corpus import Floats

__all__ = [
    "Bin",
    "answer_rates",
    "calibration",
    "calibration_of_tasks",
    "choice_probabilities",
    "document_values",
    "label_pairs",
    "reliability_bins",
]


def document_values(samples: pd.DataFrame) -> pd.Series[float]:
    """A value between 0 and 1 for every document, 1 being right.

    It is the main metric where that is a number; else F1 of the document's counts (1 where there was nothing
    to find and nothing was found), or whether the label is the gold one; NaN where there is neither.

    Args:
        samples: Rows with the columns ``score`` and all of ``counts.*`` and ``labels.*``.
    """
    values = samples["score"].to_numpy(dtype=np.float64, copy=True)
    for column in [name for name in samples if str(name).startswith(("counts.", "labels."))]:
        rows = np.flatnonzero(samples[column].notna().to_numpy() & np.isnan(values))
        read = _count_value if str(column).startswith("counts.") else _label_value
        values[rows] = [read(value) for value in samples[column].iloc[rows]]
    return pd.Series(values, index=samples.index)


def choice_probabilities(run: Run, task: str | None = None) -> pd.DataFrame:
    """Probabilities of the options, softmax over the options of each document.

    Returns:
        A row per multiple-choice document whose gold is one of the options: ``task``, ``document``,
        ``probabilities`` (array), ``gold`` (index), ``confidence`` (of the chosen option), ``correct``.
    """
    columns = ["task", "document", "target", "choices", "choice_logprobs"]
    frame = run.samples(columns, tasks=None if task is None else [task])
    frame = frame.dropna(subset=["choices", "choice_logprobs"])
    options = [list(choices) for choices in frame["choices"]]
    logprobs = [np.asarray(values, dtype=np.float64) for values in frame["choice_logprobs"]]
    gold = [_gold_index(target, names) for target, names in zip(frame["target"], options, strict=True)]
    kept = [
        i
        for i, values in enumerate(logprobs)
        if gold[i] is not None and len(values) == len(options[i]) and np.isfinite(values).any()
    ]
    probabilities = [_softmax(logprobs[i]) for i in kept]
    chosen = [int(p.argmax()) for p in probabilities]
    return pd.DataFrame(
        {
            "task": frame["task"].iloc[kept].to_numpy(),
            "document": frame["document"].iloc[kept].to_numpy(),
            "probabilities": pd.Series(probabilities, dtype=object),
            "gold": pd.Series([gold[i] for i in kept], dtype=np.int64),
            "confidence": [float(p.max()) for p in probabilities],
            "correct": [float(c == gold[i]) for c, i in zip(chosen, kept, strict=True)],
        }
    )


def _softmax(logprobs: Floats) -> Floats:
    weights = np.exp(logprobs - logprobs.max())
    shares: Floats = weights / weights.sum()
    return shares


def calibration(runs: Runs, *, bins: int = 10) -> pd.DataFrame:
    """Calibration of option probabilities, a row per run and multiple-choice task.

    Returns:
        ``model, run, task, n, accuracy, confidence`` (mean), ``ece`` (expected calibration error over bins of
        equal width) and ``brier`` (0 to 2).
    """
    parts = [
        calibration_of_tasks(choice_probabilities(run), bins=bins).assign(model=run.model, run=run.run)
        for run in runs
    ]
    names = ["model", "run", "task", "n", "accuracy", "confidence", "ece", "brier"]
    return pd.concat(parts, ignore_index=True)[names] if parts else pd.DataFrame(columns=names)


def calibration_of_tasks(probabilities: pd.DataFrame, *, bins: int = 10) -> pd.DataFrame:
    """Calibration of each task in the rows that :func:`choice_probabilities` gives."""
    rows = []
    for task, part in probabilities.groupby("task", sort=False):
        confidence, correct = part["confidence"].to_numpy(), part["correct"].to_numpy()
        rows.append(
            {
                "task": task,
                "n": len(part),
                "accuracy": float(correct.mean()),
                "confidence": float(confidence.mean()),
                "ece": expected_calibration_error(confidence, correct, bins=bins),
                "brier": brier_score(part["probabilities"].tolist(), part["gold"].to_numpy()),
            }
        )
    return pd.DataFrame(rows, columns=["task", "n", "accuracy", "confidence", "ece", "brier"])


def reliability_bins(probabilities: pd.DataFrame) -> list[Bin]:
    """Bins of a reliability diagram over the rows that :func:`choice_probabilities` gives."""
    return reliability(probabilities["confidence"].to_numpy(), probabilities["correct"].to_numpy())


def label_pairs(run: Run) -> pd.DataFrame:
    """Gold and predicted labels of classification tasks: ``task, metric, gold, predicted``."""
    columns = [name for name in run.tables.sample_columns() if name.startswith("labels.")]
    parts = []
    frame = run.samples(["task", *columns]) if columns else pd.DataFrame()
    for column in columns:
        rows = frame[frame[column].notna()]
        pairs = np.stack([np.asarray(pair, dtype=object) for pair in rows[column]]) if len(rows) else None
        if pairs is not None:
            parts.append(
                pd.DataFrame(
                    {
                        "task": rows["task"].astype(str).to_numpy(),
                        "metric": column.partition(".")[2],
                        "gold": pairs[:, 0],
                        "predicted": pairs[:, 1],
                    }
                )
            )
    names = ["task", "metric", "gold", "predicted"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names)


def answer_rates(runs: Runs) -> pd.DataFrame:
    """How many generated answers were cut off, and from how many an answer could be read.

    Returns:
        A row per run and task that generates: ``model, run, task, n, truncated`` (share that hit the token
        limit) and ``extracted`` (share with a readable answer; NaN where the task does not say).
    """
    rows = []
    for run in runs:
        known = run.tables.sample_columns()
        extracted = [name for name in ("metric.extracted",) if name in known]
        frame = run.samples(["task", "truncated", *extracted])
        for task, part in frame.groupby("task", observed=True, sort=False):
            cut = part["truncated"].dropna()
            read = part[extracted[0]].dropna() if extracted else cut.iloc[:0]
            if len(cut) or len(read):
                rows.append(
                    {
                        "model": run.model,
                        "run": run.run,
                        "task": str(task),
                        "n": len(part),
                        "truncated": float(cut.astype(float).mean()) if len(cut) else np.nan,
                        "extracted": float(read.astype(float).mean()) if len(read) else np.nan,
                    }
                )
    return pd.DataFrame(rows, columns=["model", "run", "task", "n", "truncated", "extracted"])


def _gold_index(target: Any, options: list[str]) -> int | None:
    text = str(target).strip()
    if text in options:
        return options.index(text)
    if text.isascii() and text.isdigit() and int(text) < len(options):
        return int(text)  # lm-eval writes the index of the gold option
    return None


def _count_value(counts: Any) -> float:
    tp, wrong = float(counts[0]), float(counts[1] + counts[2])
    return 1.0 if wrong == 0 else 2 * tp / (2 * tp + wrong)


def _label_value(pair: Any) -> float:
    return float(pair[0] == pair[1])
