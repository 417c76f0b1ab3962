"""The lock file: it records which data was used, so that a later run on other data warns."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from medbench.common.files import load_json, reason, write_text
from medbench.common.strict import COUNT, MAPPING, TEXT, Kind, check_mapping, choice
from medbench.errors import DataError

__all__ = ["LOCK_NAME", "LOCK_VARIABLE", "LockEntry", "lock_path", "locked_entry", "read_lock", "write_lock"]

LOCK_VARIABLE = "MEDBENCH_LOCK"
LOCK_NAME = "medbench-data.lock.json"

_FORMAT = 1
_TOP_KINDS = {"format": COUNT, "datasets": MAPPING}
_REQUIRED = ("kind", "fingerprint", "documents")
_KINDS = {
    "kind": choice("folder", "hub", "samples"),
    "revision": TEXT,
    "fingerprint": TEXT,
    "documents": MAPPING,
}
_DOCUMENTS = Kind("a number of documents", lambda value: type(value) is int and value >= 0)


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


def lock_path() -> Path:
    """Path of the lock file: that of ``MEDBENCH_LOCK``, or the one in the working folder."""
    return Path(os.environ.get(LOCK_VARIABLE) or LOCK_NAME)


def _entry(dataset: str, record: Any, where: str) -> LockEntry:
    try:
        check_mapping(record, _KINDS, where=lambda _: where, error=DataError, required=_REQUIRED)
        counts = dict.fromkeys(record["documents"], _DOCUMENTS)
        check_mapping(record["documents"], counts, where=lambda _: where, error=DataError)
    except DataError as error:
        raise DataError(
            f"the entry of {dataset!r} is damaged: {error.what}",
            where=where,
            hint="write the lock again: `medbench data lock`",
        ) from error
    return LockEntry(
        dataset, record["kind"], record.get("revision"), record["fingerprint"], record["documents"]
    )


@lru_cache(maxsize=8)
def _read(path: Path, _modified: int) -> Mapping[str, LockEntry]:
    where = str(path)
    try:
        content = load_json(path)
    except (OSError, ValueError) as error:
        raise DataError(
            "the lock file cannot be read", where=where, hint="write it again: `medbench data lock`"
        ) from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise DataError(
            "this is no lock file of a known format", where=where, hint="`medbench data lock` writes one"
        )
    check_mapping(content, _TOP_KINDS, where=lambda _: where, error=DataError)
    return {key: _entry(key, record, where) for key, record in (content.get("datasets") or {}).items()}


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
    text = json.dumps({"format": _FORMAT, "datasets": records}, indent=2, ensure_ascii=False) + "\n"
    try:
        write_text(path, text)
    except OSError as error:
        raise DataError(f"the lock file cannot be written: {reason(error)}", where=str(path)) from error
