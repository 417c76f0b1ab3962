"""Response stores that are damaged while nobody is looking, and the runs that resume on them."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.faults.damage import damage
from benchmarks.faults.kills import Subject
from benchmarks.faults.runs import Difference, compare, run_folder

__all__ = ["DamagedStore", "damaged_stores"]


class DamagedStore(NamedTuple):
    """One damaged store.

    Attributes:
        fault: What was done to it.
        status: Exit status of the resumed run: 0, or 2 where the store is refused.
        said: Whether the run said that the answers were damaged or are another model's.
        set_aside: Whether the damaged file was kept beside the new one.
        difference: Against the undisturbed run; ``None`` where the run was refused.
        traceback: Whether a traceback was printed.
    """

    fault: str
    status: int
    said: bool
    set_aside: bool
    difference: Difference | None
    traceback: bool

    @property
    def survived(self) -> bool:
        """Whether the run ended with the right result, or was refused with a reason."""
        if self.traceback:
            return False
        if self.difference is None:
            return self.status == 2 and self.said
        return self.status == 0 and not self.difference.cells and self.said == self.set_aside


def damaged_stores(subject: Subject, count: int, seed: int) -> Iterator[DamagedStore]:
    """Copy the undisturbed run, make it look unfinished, damage its store and resume."""
    generator = random.Random(seed)
    for number in range(count):
        results = subject.folder / f"store-{number}"
        run = results / subject.expected.parent.name / subject.expected.name
        shutil.copytree(subject.expected, run)
        manifest = json.loads((run / "run.json").read_text(encoding="utf-8"))
        (run / "run.json").write_text(json.dumps(manifest | {"status": "running"}), encoding="utf-8")
        fault = damage(run / "responses.sqlite", generator)
        ended = subject.start(results).wait()
        yield DamagedStore(
            fault=fault,
            status=ended.status,
            said="set aside" in ended.output or "another model" in ended.output,
            set_aside=any(run.glob("responses.sqlite.damaged-*")),
            difference=compare(subject.expected, run_folder(results)) if ended.status == 0 else None,
            traceback=ended.traceback,
        )
        shutil.rmtree(results)
