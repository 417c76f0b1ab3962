"""Evaluate checkpoints on real benchmark files and time it: ``python -m benchmarks.real_files``.

Needs the folder of reference data (``MEDBENCH_SHARED``, by default ``../shared`` beside the checkout).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

import medbench
from medbench.reports.renderers import terminal
from medbench.reports.score_tables import run_table
from tests.test_real_files import TASKS, golden_adapter

CHECKOUT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run the golden adapter and the demo, and print scores, seconds and documents per second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--tasks", nargs="*", default=TASKS)
    options = parser.parse_args()
    shared = Path(os.environ.get("MEDBENCH_SHARED", CHECKOUT.parent / "shared"))
    console = Console(width=110)
    times = Table("model", "documents", "seconds", "documents per second", title="wall time, all included")
    with tempfile.TemporaryDirectory() as folder:
        adapter, base = golden_adapter(shared, Path(folder))
        for name, model, base_model in (
            ("golden e4k2r8 adapter", str(adapter), str(base)),
            ("demo", "demo", None),
        ):
            started = time.perf_counter()
            run = medbench.evaluate(
                model=model,
                base=base_model,
                tasks=options.tasks,
                limit=options.limit,
                data_dir=shared / "data",
                results=Path(folder) / "results",
                chat_template=True,
            )
            seconds = time.perf_counter() - started
            documents = len(run.samples(columns=["document"]))
            console.print(terminal(run_table(run.scores()), console.width))
            times.add_row(name, f"{documents}", f"{seconds:.1f}", f"{documents / seconds:.1f}")
    console.print(times)


if __name__ == "__main__":
    main()
