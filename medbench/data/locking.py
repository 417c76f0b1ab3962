"""The lock file: it records which data was used, so that a later run on other data warns."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from medbench.common.files import load_json, reason, write_text
from medbench.common.strict import Name, Record, expecting, validated
from medbench.errors import DataError

LOCK_VARIABLE = "MEDBENCH_LOCK"
LOCK_NAME = "medbench-data.lock.json"


@dataclass(frozen=True)
class LockEntry:
    """The data that was used for a dataset.

    Attributes:
        dataset: Key of the dataset.
        kind: ``folder``, ``hub`` or ``samples``.
        revision: Commit on the hub; None for files.
        fingerprint: Checksum over the files; for the hub, over the documents.
        documents: Number of documents by split.
    """

    dataset: str
    kind: str
    revision: str | None
    fingerprint: str
    documents: Mapping[str, int]


class _WrittenEntry(Record):
    kind: Literal["folder", "hub", "samples"]
    revision: str | None = None
    fingerprint: Name
    documents: dict[str, Annotated[int, Field(ge=0), expecting("a number of documents")]]


class _WrittenLock(Record):
    format: Annotated[Literal[1], expecting("a known format")]
    datasets: dict[str, _WrittenEntry] = Field(default_factory=dict)


def lock_path() -> Path:
    """Path of the lock file: that of ``MEDBENCH_LOCK``, or the one in the working folder."""
    return Path(os.environ.get(LOCK_VARIABLE) or LOCK_NAME)


@lru_cache(maxsize=8)
def _read(path: Path, _modified: int) -> Mapping[str, LockEntry]:
    where = str(path)
    try:
        content = load_json(path)
    except (OSError, ValueError) as error:
        raise DataError(
            "the lock file cannot be read", where=where, hint="write it again: `medbench data lock`"
        ) from error
    try:
        file = validated(_WrittenLock, content, where=where, error=DataError)
    except DataError as error:
        raise DataError(
            f"the lock file is damaged: {error.what}",
            where=error.where,
            hint="write the lock again: `medbench data lock`",
        ) from error
    return {key: LockEntry(key, **dict(record)) for key, record in file.datasets.items()}


def read_lock(path: Path) -> Mapping[str, LockEntry]:
    """Read a lock file.

    Raises:
        DataError: If it cannot be read or is damaged.
    """
    return _read(path, path.stat().st_mtime_ns) if path.is_file() else {}


def locked_entry(dataset: str) -> LockEntry | None:
    """The entry of the current lock file for a dataset, if there is one."""
    return read_lock(lock_path()).get(dataset)


def write_lock(path: Path, entries: Iterable[LockEntry]) -> None:
    """Write a lock file; its other datasets are kept.

    Raises:
        DataError: If it cannot be written.
    """
    merged = dict(read_lock(path)) | {entry.dataset: entry for entry in entries}
    records = {}
    for key in sorted(merged):
        record = asdict(merged[key])
        del record["dataset"]
        records[key] = record
    text = json.dumps({"format": 1, "datasets": records}, indent=2, ensure_ascii=False) + "\n"
    try:
        write_text(path, text)
    except OSError as error:
        raise DataError(f"the lock file cannot be written: {reason(error)}", where=str(path)) from error
