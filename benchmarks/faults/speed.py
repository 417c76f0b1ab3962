"""``python -m benchmarks.faults.speed``: resuming a large finished run, and what the store costs."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.faults.runs import run_folder, write_tasks
from medbench.api import evaluate_with_outcome
from medbench.models.engines.engine import Engine
from medbench.models.engines.native.scoring_pass import Score
from medbench.runs.store import ResponseStore

_DOCUMENTS = 5000  # of four options: 20,000 requests


def main() -> None:
    """Measure and print; ``overhead`` or ``resume`` as an argument for that one alone."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        if sys.argv[1:] != ["overhead"]:
            _resume(Path(place))
        if sys.argv[1:] != ["resume"]:
            _overhead(Path(place))


def _resume(folder: Path) -> None:
    data = folder / "data"
    tasks = write_tasks(folder / "tasks")
    _write_exam(data)
    (tasks / "many.yaml").write_text(
        (tasks / "faults_letters.yaml").read_text(encoding="utf-8").replace("faults_letters", "many"), "utf-8"
    )
    command = ["--tasks", "many", "--tasks-dir", str(tasks), "--data-dir", str(data)]
    command = [sys.executable, "-m", "medbench", "run", *command, "--results", str(folder / "large")]
    score, Engine.score = Engine.score, _made_up  # type: ignore[method-assign,assignment]
    try:
        evaluate_with_outcome(
            tasks=["many"], task_folders=[tasks], data_dir=data, results=folder / "large", quiet=True
        )
    finally:
        Engine.score = score  # type: ignore[method-assign]
    run = run_folder(folder / "large")
    with ResponseStore(run / "responses.sqlite", model=_manifest(run)["answer_identity"]) as store:
        print(f"requests in the store: {len(store)}")
    print(f"finished run, shown again: {_timed(command):.1f} s, start of Python included")
    value = _manifest(run)
    (run / "run.json").write_text(json.dumps(value | {"status": "running"}), encoding="utf-8")
    print(f"all answered but killed before its tables: {_timed([*command, '--no-report']):.1f} s")


def _write_exam(folder: Path) -> None:
    """A MedQA file of made-up questions, in the layout that the data folder documents."""
    path = folder / "medqa" / "us_4_options_test.jsonl"
    path.parent.mkdir(parents=True)
    with path.open("w", encoding="utf-8") as file:
        for number in range(_DOCUMENTS):
            options = {letter: f"finding {number % 97} {letter}" for letter in "ABCD"}
            question = f"Case {number}: which finding fits? " + "A long history. " * 20
            right = "ABCD"[number % 4]
            row = {"question": question, "options": options, "answer_idx": right}
            row |= {"answer": options[right], "meta_info": "step1"}
            file.write(json.dumps(row) + "\n")


def _made_up(
    engine: Engine,
    requests: Sequence[tuple[Sequence[int], Sequence[int]]],
    labels: Any = None,
    on_batch: Callable[[Sequence[int], Sequence[Score]], None] | None = None,
) -> list[Score]:
    """Scores without a model, in batches of 64."""
    del engine, labels
    scores = [Score(-float(sum(c) % 97) / 7, False) for _, c in requests]
    for start in range(0, len(scores), 64):
        if on_batch is not None:
            on_batch(range(start, min(start + 64, len(scores))), scores[start : start + 64])
    return scores


def _manifest(run: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return value


def _timed(command: Sequence[str]) -> float:
    started = time.monotonic()
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(ended.stdout[-3000:] + ended.stderr[-3000:])
    return time.monotonic() - started


def _overhead(folder: Path) -> None:
    """Time spent in the store in a run of the demo, which is tiny: of a real model's time it is less."""
    spent = 0.0

    def timed(name: str) -> None:
        method = getattr(ResponseStore, name)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            nonlocal spent
            started = time.monotonic()
            try:
                return method(*args, **kwargs)
            finally:
                spent += time.monotonic() - started

        setattr(ResponseStore, name, wrapper)

    for name in ("__init__", "get", "put", "close"):
        timed(name)
    started = time.monotonic()
    outcome = evaluate_with_outcome(
        tasks=["exams_en"], results=folder / "demo", limit=5, report=False, quiet=True
    )
    seconds = time.monotonic() - started
    size = (outcome.directory / "responses.sqlite").stat().st_size
    print(f"store: {spent:.2f} s of {seconds:.1f} s, {spent / seconds:.1%}; {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
