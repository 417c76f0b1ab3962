"""The folder of a run: its name, its files, its lock, and finding one to go on with."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from medbench.common.files import load_json, reason
from medbench.common.files import replacing as _replacing
from medbench.errors import RunError

_HASH_LENGTH = 10
_LOCK = ".lock"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path for a file of a run; see :func:`medbench.common.files.replacing`.

    Raises:
        RunError: The file cannot be written (no permission, disk full).
    """
    try:
        with _replacing(path) as temporary:
            yield temporary
    except OSError as error:
        raise RunError(
            f"cannot write {path.name}: {reason(error)}",
            where=str(path.parent),
            hint="check permissions and free space, or choose another folder with --results",
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as readable JSON.

    Raises:
        RunError: The file cannot be written (no permission, disk full).
    """
    text = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file of a run.

    Raises:
        RunError: The file is missing, unreadable or not JSON.
    """
    try:
        return load_json(path)
    except (OSError, ValueError) as error:
        raise RunError(
            f"cannot read {path.name}: {error}",
            where=str(path),
            hint="the run folder is damaged; move it away and run again",
        ) from error


@dataclass(frozen=True)
class RunDirectory:
    """Paths inside ``results/<model>/<run id>/``."""

    path: Path

    @property
    def run_id(self) -> str:
        """Name of the folder: the start time and the hash of the plan."""
        return self.path.name

    @property
    def manifest(self) -> Path:
        """``run.json``."""
        return self.path / "run.json"

    @property
    def responses(self) -> Path:
        """``responses.sqlite``."""
        return self.path / "responses.sqlite"

    @property
    def samples(self) -> Path:
        """``samples.parquet``."""
        return self.path / "samples.parquet"

    @property
    def scores(self) -> Path:
        """``scores.parquet``."""
        return self.path / "scores.parquet"

    @property
    def routing(self) -> Path:
        """``routing.parquet``."""
        return self.path / "routing.parquet"

    @property
    def vocabulary(self) -> Path:
        """``vocabulary.json``: which tasks were traced, and what their tokens stand for."""
        return self.path / "vocabulary.json"

    @property
    def harness(self) -> Path:
        """The folder for lm-eval's own results and samples."""
        return self.path / "lm_eval"

    def status(self) -> str:
        """``running``, ``interrupted``, ``failed``, ``partial`` (tasks failed) or ``complete``.

        ``new`` before the first manifest.
        """
        if not self.manifest.exists():
            return "new"
        manifest = read_json(self.manifest)
        return str(manifest.get("status", "running")) if isinstance(manifest, dict) else "running"

    def lock(self) -> ExitStack:
        """Hold the run for this process until the returned context is left or closed, or the process ends.

        Raises:
            RunError: Another process is working on the same run, or its folder cannot be written or locked.
        """
        # A file that merely exists would outlive a killed process, so there is no falling back on one.
        lock = FileLock(self.path / _LOCK, thread_local=False, fallback_to_soft=False)
        held = ExitStack()
        try:
            held.enter_context(lock.acquire(blocking=False))
        except Timeout as error:
            raise RunError(
                "another process is working on this very run",
                where=str(self.path),
                hint="wait for it, or start a separate run with --fresh",
            ) from error
        except OSError as error:
            raise RunError(
                f"the run's folder cannot be written or locked: {reason(error)}",
                where=str(self.path),
                hint="check permissions and free space, or start a separate run with --results",
            ) from error
        return held

    def sweep(self) -> None:
        """Remove what an attempt that was killed left half-written; call it with the lock held."""
        for litter in (*self.path.glob(".*"), *self.harness.glob(".*")):
            if litter.name != _LOCK and litter.is_file():
                litter.unlink()

    def clear_tables(self) -> None:
        """Remove an earlier attempt's tables, the scores first: without them a run counts as unfinished."""
        for table in (self.scores, self.samples, self.routing, self.vocabulary):
            table.unlink(missing_ok=True)
        if self.harness.is_dir():
            shutil.rmtree(self.harness)


def find_run(results: Path, model: str, plan_hash: str) -> RunDirectory | None:
    """Return the newest run with this plan, finished or not, or ``None``."""
    folders = sorted((results / safe_name(model)).glob(f"*-{plan_hash[:_HASH_LENGTH]}*"))
    return RunDirectory(folders[-1]) if folders else None


def new_run(results: Path, model: str, plan_hash: str) -> RunDirectory:
    """Create the folder of a new run.

    Raises:
        RunError: The folder cannot be created.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    parent = results / safe_name(model)
    name = f"{stamp}-{plan_hash[:_HASH_LENGTH]}"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        number = 1
        path = parent / name
        while path.exists():  # two fresh runs within a second
            number += 1
            path = parent / f"{name}.{number}"
        path.mkdir()
    except OSError as error:
        raise RunError(
            f"cannot create the results folder: {error.strerror or error}",
            where=str(parent / name),
            hint="check permissions, or choose another folder with --results",
        ) from error
    return RunDirectory(path)


def safe_name(name: str) -> str:
    """Turn a model name (perhaps a path or hub id) into one folder name."""
    return re.sub(r"[^\w.+-]+", "_", name, flags=re.UNICODE).strip("._") or "model"
