"""Runs of the demo in processes that can be killed, and comparing what two runs left behind."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from medbench.catalog.tasks import definitions_folder

__all__ = [
    "TASKS",
    "Difference",
    "Ended",
    "Process",
    "compare",
    "run_folder",
    "stored_answers",
    "write_tasks",
]

# Imported once, in the server that processes are forked from: a fresh interpreter takes longer than the run.
_PRELOADED = [
    "lm_eval.evaluator",
    "lm_eval.tasks",
    "medbench.analysis",
    "medbench.cli.main",
    "medbench.models.harness.adapter",
    "medbench.runs.execution",
    "pyarrow.parquet",
    "transformers.models.qwen2.modeling_qwen2",
]
_ROUNDING = 1e-4  # nats; float32 sums in another order
# Letters by likelihood, labels, an answer in one pass, an answer in two.
TASKS = ("faults_letters", "faults_labels", "faults_multiple", "faults_two_passes")
_DEFINITIONS = {
    "faults_letters": ("_exams/_letters_en", "medqa_us", "letters", "acc", ""),
    "faults_labels": ("_exams/_letters_zh", "cmexam", "letters", "acc", ""),
    "faults_multiple": (
        "_exams/_multiple_zh",
        "cmexam",
        "generate",
        "acc",
        'generation_kwargs: {until: ["<|im_end|>"], do_sample: false, max_gen_toks: 12}',
    ),
    "faults_two_passes": (
        "_exams/_cot_en",
        "medqa_us",
        "cot",
        "acc",
        'generation_kwargs: {until: ["<|im_end|>"], do_sample: false, max_gen_toks: 24, second_pass: '
        '{suffix: "\\nThe answer is ", when: always, letters: letters, max_gen_toks: 1}}',
    ),
}
_TEMPLATE = """include: {include}
task: {name}
{extra}
metadata:
  version: 1.0
  dataset: {dataset}
  language: en
  family: exam
  protocol: {protocol}
  main_metric: {metric}
"""


def write_tasks(folder: Path) -> Path:
    """Write short tasks of each protocol into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (template, dataset, protocol, metric, extra) in _DEFINITIONS.items():
        include = definitions_folder("tasks") / template
        text = _TEMPLATE.format(
            include=include, name=name, dataset=dataset, protocol=protocol, metric=metric, extra=extra
        )
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


class Ended(NamedTuple):
    """How a process ended.

    Attributes:
        status: Its exit status; negative: the signal that killed it.
        output: What it wrote to standard output and error.
        seconds: How long it took.
    """

    status: int
    output: str
    seconds: float

    @property
    def traceback(self) -> bool:
        """Whether a person would have seen a traceback."""
        return "Traceback (most recent call last)" in self.output


class Process:
    """``medbench <arguments>`` in a process of its own, forked from one that has imported everything.

    Args:
        arguments: Words after ``medbench``.
        output: File for what it prints.
    """

    def __init__(self, arguments: list[str], output: Path) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)
        self._output = output
        self._started = time.monotonic()
        self._process: Any = context.Process(target=_command, args=(arguments, str(output)))
        self._process.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return int(self._process.pid)

    def pause(self, until: float) -> None:
        """Sleep until so many seconds after the start, or the end of the process."""
        self._process.join(max(0.0, self._started + until - time.monotonic()))

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return bool(self._process.is_alive())

    def send(self, number: int) -> None:
        """Send a signal; a process that has ended already takes no notice."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, timeout: float = 300) -> Ended:
        """Wait for its end.

        Raises:
            TimeoutError: It hangs; it is killed.
        """
        self._process.join(timeout)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
            raise TimeoutError(f"no end after {timeout} s")
        seconds = time.monotonic() - self._started
        text = self._output.read_text(encoding="utf-8", errors="replace") if self._output.exists() else ""
        return Ended(int(self._process.exitcode), text, seconds)


def _command(arguments: list[str], output: str) -> None:
    import torch

    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.set_num_threads(1)
    from medbench.cli.main import main

    sys.exit(main(arguments))


def run_folder(results: Path) -> Path:
    """The only run below a results folder.

    Raises:
        ValueError: There are none or several.
    """
    folders = [path.parent for path in results.glob("*/*/responses.sqlite")]
    if len(folders) != 1:
        raise ValueError(f"{len(folders)} runs below {results}")
    return folders[0]


def stored_answers(run: Path) -> dict[str, tuple[str, float]]:
    """The answers in the store of a run that nobody is working on: key -> (answer, when it was stored).

    They are read from a copy: opening a store folds its log in, which is for the resumed run to do.
    """
    with tempfile.TemporaryDirectory() as folder:
        for file in run.glob("responses.sqlite*"):
            shutil.copy(file, folder)
        with contextlib.closing(sqlite3.connect(Path(folder) / "responses.sqlite")) as connection:
            try:
                rows = connection.execute("SELECT key, answer, answered FROM answers").fetchall()
            except sqlite3.OperationalError:  # killed before the tables were made
                return {}
    return {key: (answer, answered) for key, answer, answered in rows}


@dataclass(frozen=True)
class Difference:
    """What differs between two runs.

    Attributes:
        cells: Descriptions of cells that differ by more than rounding.
        largest: Largest difference between two numbers that count as equal, in nats or counts.
    """

    cells: tuple[str, ...]
    largest: float


def compare(expected: Path, found: Path) -> Difference:
    """Compare the samples, scores and routing tables of two run folders.

    Texts, labels and counts must be equal; log-probabilities and sums of probabilities to within rounding, as
    requests that share a batch with others are summed in another order.
    """
    cells: list[str] = []
    largest = 0.0
    for name in ("samples", "scores", "routing"):
        left, right = (pd.read_parquet(run / f"{name}.parquet") for run in (expected, found))
        keys = [
            key
            for key in ("task", "metric", "doc_id", "document", "phase", "layer", "projection", "expert")
            if key in left
        ]
        left, right = (
            frame.astype({key: str for key in keys if frame[key].dtype == "category"})
            .sort_values(keys, kind="stable")
            .reset_index(drop=True)
            for frame in (left, right)
        )
        if list(left.columns) != list(right.columns) or len(left) != len(right):
            cells.append(f"{name}: {left.shape} against {right.shape}")
            continue
        for column in left.columns:
            for row, (a, b) in enumerate(zip(left[column], right[column], strict=True)):
                gap = _gap(a, b)
                if gap > _ROUNDING:
                    cells.append(f"{name}.{column}[{row}]: {a!r} against {b!r}")
                elif gap > largest:
                    largest = gap
    return Difference(tuple(cells), largest)


def _gap(a: Any, b: Any) -> float:
    """0 for equal cells, how far apart numbers are (relative to those above 1), infinity for others."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        if a.shape != b.shape:
            return float("inf")
        return max((_gap(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)), default=0.0)
    if isinstance(a, float) and isinstance(b, float):
        if a == b or (np.isnan(a) and np.isnan(b)):
            return 0.0
        return abs(a - b) / max(1.0, abs(a))
    return 0.0 if a is b or a == b or (pd.isna(a) and pd.isna(b)) else float("inf")
