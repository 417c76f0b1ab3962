"""A run with two workers, of which one after the other is killed at random moments, and once the driver."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from benchmarks.faults.runs import Process, compare, run_folder, stored_answers

__all__ = ["torment"]

_TASKS = "medqa_us_cot,medmcqa_cot,cmexam_cot,pubmedqa_cot,promptcblue_cmeee_v2,medqa_us,medmcqa"
_PAUSE = (2.0, 9.0)  # seconds between two kills; a worker takes some to be back


def torment(folder: Path, kills: int, seed: int) -> Mapping[str, object]:
    """Kill workers and the driver, and look at what is left.

    A run that ends before so many workers have died is followed by another.

    Args:
        folder: Where the runs go.
        kills: How many workers are to die.
        seed: Of the moments.

    Returns:
        What happened, for a table.

    Raises:
        RuntimeError: The undisturbed run fails.
    """
    generator = random.Random(seed)
    began = time.monotonic()
    ended = _start(folder / "expected").wait(3600)
    if ended.status:
        raise RuntimeError(ended.output)
    expected = run_folder(folder / "expected")
    found = {"undisturbed run, s": round(time.monotonic() - began), "runs": 0, "workers killed": 0}
    found |= dict.fromkeys(
        ("drivers killed", "answers kept when a driver died", "answers lost or changed"), 0
    )
    found |= dict.fromkeys(("cells that differ", "tracebacks", "exit statuses other than 0"), 0)
    while found["workers killed"] < kills:
        results = folder / f"run-{found['runs']}"
        found["runs"] += 1
        process = _start(results)
        half = (found["workers killed"] + kills) // 2
        found["workers killed"] += _kill_workers(process, generator, half - found["workers killed"])
        kept: dict[str, tuple[str, float]] = {}
        while process.running and not _answers(results):
            time.sleep(0.2)
        if process.running:
            process.send(signal.SIGKILL)
            process.wait()
            found["drivers killed"] += 1
            kept = _answers(results)
            found["answers kept when a driver died"] += len(kept)
            process = _start(results)
            found["workers killed"] += _kill_workers(process, generator, kills - found["workers killed"])
        ended = process.wait(3600)
        now, whole = stored_answers(run_folder(results)), stored_answers(expected)
        found["answers lost or changed"] += sum(now.get(key) != answer for key, answer in kept.items())
        found["answers lost or changed"] += sum(
            key not in now or now[key][0] != text for key, (text, _) in whole.items()
        )
        found["cells that differ"] += len(compare(expected, run_folder(results)).cells)
        found["tracebacks"] += ended.traceback
        found["exit statuses other than 0"] += ended.status != 0
    return found


def _start(results: Path) -> Process:
    results.mkdir(parents=True, exist_ok=True)
    words = ["run", "--tasks", _TASKS, "--workers", "2", "--no-report", "--results", str(results)]
    return Process(words, results.with_suffix(".out"))


def _answers(results: Path) -> dict[str, tuple[str, float]]:
    """What a run has stored so far."""
    if not any(results.glob("*/*/responses.sqlite")):
        return {}
    return stored_answers(run_folder(results))


def _kill_workers(process: Process, generator: random.Random, count: int) -> int:
    """Kill so many workers of a run, or as many as there are before it ends."""
    killed = 0
    while killed < count and process.running:
        time.sleep(generator.uniform(*_PAUSE))
        try:
            descendants = psutil.Process(process.pid).children(recursive=True)
            workers = [child for child in descendants if child.name().startswith("ray::Replica")]
            if workers:
                generator.choice(workers).kill()
                killed += 1
        except psutil.NoSuchProcess:
            continue
    return killed
