"""How fast runs load and statistics draw: ``python -m benchmarks.analysis``.

Makes 200 runs of 30 tasks with 1,000 documents each in a temporary folder (about 1 GB), loads them, and
prints seconds and peak memory beside the goals.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

RUNS, TASKS, DOCUMENTS = 200, 30, 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--load", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        _load(Path(options.load))
        return
    _bootstrap()
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), options.runs)
        # A process of its own, so that the peak is that of loading alone.
        subprocess.run([sys.executable, "-m", "benchmarks.analysis", "--load", folder], check=True)


def _write(folder: Path, runs: int) -> None:
    from tests.analysis.factory import FakeTask, write_run

    tasks = [FakeTask(f"task_{i:02}", n=DOCUMENTS, skill=0.5) for i in range(TASKS)]
    first = write_run(folder, "model-000", tasks)
    for number in range(1, runs):
        copy = folder / f"model-{number:03}" / first.name
        shutil.copytree(first, copy)
        manifest = json.loads((copy / "run.json").read_text(encoding="utf-8"))
        manifest["model"] = f"model-{number:03}"
        (copy / "run.json").write_text(json.dumps(manifest), encoding="utf-8")


def _load(folder: Path) -> None:
    from medbench.analysis import load_runs

    start = time.perf_counter()
    runs = load_runs(folder)
    found = time.perf_counter()
    scores = runs.scores()
    scored = time.perf_counter()
    samples = runs.samples()
    done = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{len(runs)} runs found in {found - start:.1f} s, {len(scores):,} scores in {scored - found:.1f} s,"
    )
    print(f"{len(samples):,} samples in {done - scored:.1f} s")
    print(f"all of it: {done - start:.1f} s (goal 10), peak {peak:.2f} GB (goal 2)")


def _bootstrap() -> None:
    from medbench.statistics import interval

    rng = np.random.default_rng(0)
    labels = np.array([f"label {i}" for i in range(12)], dtype=object)
    cases = {
        "micro_f1 (tp, fp, fn)": (rng.poisson(2, (10_000, 3)), "micro_f1", "auto"),
        "macro_f1, 12 classes": (labels[rng.integers(0, 12, (10_000, 2))], "macro_f1", "auto"),
        "mean of real numbers": (rng.random(10_000), "mean", "bootstrap"),
    }
    for name, (data, aggregation, method) in cases.items():
        start = time.perf_counter()
        interval(data, aggregation, method=method)  # type: ignore[arg-type]
        print(f"10,000 draws of 10,000 documents, {name}: {time.perf_counter() - start:.2f} s (goal about 1)")


if __name__ == "__main__":
    main()
