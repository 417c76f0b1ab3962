"""From a source to documents, and from documents to what lm-eval calls a dataset."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from medbench.data.documents import EXAM_COLUMNS, PROMPTCBLUE_COLUMNS, Document, Row, check_unique_ids
from medbench.data.locking import LockEntry
from medbench.data.readers import MAPPINGS, MappingContext, Unanswerable, read_rows
from medbench.data.registry import DatasetEntry, get_entry
from medbench.data.robustness import circular_documents, shuffle_documents
from medbench.data.sources import Source, SourceFile, TasksDirs, fingerprint_of, resolve
from medbench.errors import DataError

if TYPE_CHECKING:
    import datasets

__all__ = ["Reading", "SetAside", "content_fingerprint", "load", "lock_of", "read", "settle", "to_datasets"]

_log = logging.getLogger("medbench.data")

SetAside = Unanswerable

_TOLERATED_FAULTS = 0.01
_SHOWN = 5


class Reading(NamedTuple):
    """The documents of a source.

    Attributes:
        documents: Canonical documents by split.
        set_aside: Rows that cannot be scored, each with its place and the reason.
    """

    documents: Mapping[str, tuple[Document, ...]]
    set_aside: tuple[SetAside, ...]


def _keys(path: Path) -> frozenset[str]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"the keys cannot be read: {error}", where=str(path), hint="fetch the file again"
        ) from error
    if not isinstance(loaded, (dict, list)):
        raise DataError(
            "expected a JSON list or object of keys", where=str(path), hint="fetch the file again"
        )
    return frozenset(str(key) for key in loaded)


def _wanted(rows: Iterable[Row], root: Path, entry: DatasetEntry, split: str, mapping: str) -> Iterator[Row]:
    """The rows of a split, where a file of keys says which they are; refuses a key that no row has."""
    rule = next((part for part in entry.splits if part.split == split), None)
    if rule is None or mapping == "canonical" or not (rule.only_keys or rule.except_keys):
        yield from rows
        return
    path = root / (rule.only_keys or rule.except_keys or "")
    keys, seen = _keys(path), set()
    for row in rows:
        key = row.text("key")
        listed = key in keys
        if listed:
            seen.add(key)
        if listed == (rule.only_keys is not None):
            yield row
    missing = sorted(keys - seen)
    if missing:
        raise DataError(
            f"{len(missing)} listed records are missing, the first is {missing[0]!r}",
            where=str(path),
            hint="the two files do not belong together; fetch both again",
        )


def map_rows(
    rows: Iterable[Row], mapping: str, context: MappingContext, *, upstream: bool
) -> list[tuple[str, Document | Unanswerable]]:
    """Understand rows, each with its place; rows of other datasets in the same file are passed over.

    Args:
        rows: Records of one file or hub split.
        mapping: Key of :data:`medbench.data.readers.MAPPINGS`.
        context: What the mapping knows beside the row.
        upstream: Whether the content is as published. Its few faulty rows are then set aside and counted,
            since nobody here can mend them; in any other file a faulty row is an error.

    Raises:
        DataError: At a faulty row, or when more than one published row in a hundred is faulty, which speaks
            against the reading and not against the rows.
    """
    understand = MAPPINGS[mapping]
    found: list[tuple[str, Document | Unanswerable]] = []
    faults: list[DataError] = []
    for row in rows:
        try:
            document = understand(row, context)
        except DataError as error:
            if not upstream:
                raise
            faults.append(error)
            document = Unanswerable(row.where, error.what)
        if document is not None:
            found.append((row.where, document))
    if len(faults) > _TOLERATED_FAULTS * len(found):
        raise faults[0]
    return found


def collect(parts: Mapping[str, list[tuple[str, Document | Unanswerable]]], where: str) -> Reading:
    """Check what was read of all splits and put it together.

    Raises:
        DataError: If an id occurs twice or no document of the test split can be scored.
    """
    set_aside: list[SetAside] = []
    documents: dict[str, tuple[Document, ...]] = {}
    placed: list[tuple[str, Document]] = []
    for split, found in parts.items():
        usable: list[tuple[str, Document]] = []
        for place, document in found:
            if isinstance(document, Unanswerable):
                set_aside.append(document)
            else:
                usable.append((place, document))
        placed += usable
        if usable:
            documents[split] = tuple(document for _, document in usable)
    check_unique_ids(placed)
    if "test" not in documents:
        raise DataError(
            f"no document of the test split can be scored ({len(set_aside)} rows were set aside)",
            where=where,
            hint="check that the files are the ones the dataset expects",
        )
    return Reading(documents, tuple(set_aside))


@lru_cache(maxsize=64)
def _read_files(entry: DatasetEntry, root: str, files: tuple[SourceFile, ...]) -> Reading:
    # Keyed by the files' checksums, so that three protocols of one exam parse its workbook once.
    parts: dict[str, list[tuple[str, Document | Unanswerable]]] = {}
    for file in files:
        if file.split == "keys":
            continue
        context = MappingContext(file.split, entry.language, entry.subject, entry.select)
        rows = read_rows(Path(root) / file.path, file.format)
        rows = _wanted(rows, Path(root), entry, file.split, file.mapping)
        parts.setdefault(file.split, []).extend(
            map_rows(rows, file.mapping, context, upstream=file.pinned is True)
        )
    return collect(parts, root)


def read(source: Source, tasks_dirs: TasksDirs = ()) -> Reading:
    """Read the documents of a source into the canonical form.

    Args:
        source: What :func:`medbench.data.resolve` found.
        tasks_dirs: Folders whose `sources.yaml` add datasets.

    Raises:
        DataError: If a file is missing, damaged or not what the dataset expects; names file and row.
    """
    entry = get_entry(source.dataset, tasks_dirs)
    if source.kind == "hub":
        return _read_hub(entry, source.revision)
    return _read_files(entry, source.root, source.files)


@lru_cache(maxsize=64)
def _read_hub(entry: DatasetEntry, revision: str | None) -> Reading:
    from medbench.data.hub import read_hub

    return read_hub(entry, revision)


def content_fingerprint(reading: Reading) -> str:
    """Checksum over the documents themselves, for sources without files."""
    parts = []
    for split, documents in reading.documents.items():
        digest = hashlib.sha256()
        for document in documents:
            digest.update(json.dumps(document, ensure_ascii=False, sort_keys=True).encode())
        parts.append((split, digest.hexdigest()))
    return fingerprint_of("documents", parts)


def settle(source: Source, tasks_dirs: TasksDirs = ()) -> Source:
    """A source with what is only known once its documents are read.

    Returns:
        The source with the numbers of documents and of rows set aside, and for the hub its fingerprint.

    Raises:
        DataError: If the documents cannot be read.
    """
    reading = read(source, tasks_dirs)
    return replace(
        source,
        fingerprint=source.fingerprint or content_fingerprint(reading),
        documents={split: len(documents) for split, documents in reading.documents.items()},
        set_aside=len(reading.set_aside),
    )


def lock_of(source: Source) -> LockEntry:
    """What a lock file records about a settled source; for the hub, with the commit behind a branch."""
    revision = source.revision
    if source.kind == "hub":
        from medbench.data.hub import commit_of

        revision = commit_of(source.root, source.revision)
    return LockEntry(source.dataset, source.kind, revision, source.fingerprint, dict(source.documents or {}))


def to_datasets(documents: Mapping[str, tuple[Document, ...]], schema: str) -> dict[str, datasets.Dataset]:
    """Turn documents into one typed dataset per split, so that empty lists keep their type."""
    import datasets

    text, texts = datasets.Value("string"), datasets.Sequence(datasets.Value("string"))
    columns = EXAM_COLUMNS if schema == "exam" else PROMPTCBLUE_COLUMNS
    lists = {"letters", "options", "answer_choices"}
    result = {}
    for split, rows in documents.items():
        # Robustness modes add columns of text.
        names = [*columns, *(name for name in (rows[0] if rows else ()) if name not in columns)]
        features = datasets.Features({name: texts if name in lists else text for name in names})
        result[split] = datasets.Dataset.from_dict(
            {name: [row[name] for row in rows] for name in names}, features=features
        )
    return result


@lru_cache(maxsize=256)
def _tell(dataset: str, notice: str, set_aside: tuple[SetAside, ...]) -> None:
    """Log what a reader of scores must know; once a dataset, however many protocols load it."""
    if notice:
        _log.warning("%s: %s", dataset, notice)
    for row in set_aside[:_SHOWN]:
        _log.warning("%s: set aside: %s: %s", dataset, row.where, row.reason)


def load(
    dataset: str,
    data_dir: str | os.PathLike[str] | None = None,
    data_source: str = "auto",
    shuffle_options: int | None = None,
    circular: bool = False,
    tasks_dirs: TasksDirs = (),
    config_source: str | None = None,
    **_: Any,
) -> dict[str, datasets.Dataset]:
    """Load a dataset for lm-eval, as its `custom_dataset`.

    Args:
        dataset: Key of the dataset in `sources.yaml`.
        data_dir: Folder in the documented layout; None for ``MEDBENCH_DATA``, if set.
        data_source: ``auto``, ``folder``, ``folder-or-samples``, ``hub`` or ``samples``.
        shuffle_options: Seed by which the options of every exam document are permuted; None leaves them.
        circular: Whether every exam document of the test split is repeated under each rotation of options.
        tasks_dirs: Folders whose `sources.yaml` add datasets.
        config_source: The task's YAML, which lm-eval passes; a `sources.yaml` in its folder adds datasets, so
            that a task from outside brings its data along even under plain lm-eval.
        **_: Metadata of the task that does not concern the data.

    Returns:
        The splits ``test`` and ``dev`` with their documents; ``dev`` is empty where there are no examples.

    Raises:
        DataError: If the data cannot be found or read.
    """
    beside = Path(config_source).parent if config_source else None
    if beside is not None and (beside / "sources.yaml").is_file():
        tasks_dirs = (*tasks_dirs, beside)
    entry = get_entry(dataset, tasks_dirs)
    source = resolve(dataset, data_dir, data_source, tasks_dirs)
    source = settle(source, tasks_dirs)
    reading = read(source, tasks_dirs)
    if data_source != "samples":
        _tell(dataset, source.notice, reading.set_aside)
    documents = dict(reading.documents)
    if entry.schema == "exam":
        if shuffle_options is not None:
            documents = {
                split: tuple(shuffle_documents(rows, int(shuffle_options)))
                for split, rows in documents.items()
            }
        if circular:
            # Few-shot examples are shown once, as they are.
            documents["test"] = tuple(circular_documents(documents["test"]))
    # lm-eval looks a task's few-shot split up even for zero shots.
    documents.setdefault("dev", ())
    return to_datasets(documents, entry.schema)
