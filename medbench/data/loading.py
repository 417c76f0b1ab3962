"""Loading: from a source to documents, and from documents to the datasets that lm-eval uses."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medbench.data.documents import ANNOTATIONS, EXAM_COLUMNS, PROMPTCBLUE_COLUMNS, Document, repeated_ids
from medbench.data.hub import commit_of, read_hub
from medbench.data.keys import rows_of_split
from medbench.data.locking import LockEntry
from medbench.data.readers import MappingContext, Unanswerable, read_rows
from medbench.data.reading import SHOWN, Reading, SetAside, collect, map_rows, tolerable, understand
from medbench.data.registry import DatasetEntry, get_entry
from medbench.data.robustness import circular_documents, shuffle_documents
from medbench.data.rows import Row
from medbench.data.sources import Source, SourceFile, TasksDirs, fingerprint_of, resolve
from medbench.errors import DataError

if TYPE_CHECKING:
    import datasets

_log = logging.getLogger("medbench.data")


def _rows(entry: DatasetEntry, root: Path, file: SourceFile) -> tuple[Iterator[Row], MappingContext]:
    """The rows of a file that belong to its split, with their context."""
    context = MappingContext(file.split, entry.language, entry.subject, entry.select, entry.selects)
    rows = read_rows(root / file.path, file.format)
    return rows_of_split(rows, root, entry, file.split, file.mapping), context


@lru_cache(maxsize=64)
def _read_files(entry: DatasetEntry, root: str, files: tuple[SourceFile, ...]) -> Reading:
    # Cached by the files' checksums, so that three protocols of one exam parse its workbook once.
    parts: dict[str, list[tuple[str, Document | Unanswerable]]] = {}
    for file in files:
        if file.split != "keys":
            rows, context = _rows(entry, Path(root), file)
            found = map_rows(rows, file.mapping, context, upstream=file.pinned is True)
            parts.setdefault(file.split, []).extend(found)
    return collect(parts, root)


def faults_in(source: Source, tasks_dirs: TasksDirs = ()) -> tuple[DataError, ...]:
    """Find all faults in the files of a source; :func:`read` stops at the first.

    Args:
        source: A folder or the bundled samples.
        tasks_dirs: Folders whose `sources.yaml` add datasets.

    Returns:
        An error for each faulty row, repeated id or unreadable file, each once. The few rows of a published
        file that :func:`read` sets aside are none.
    """
    entry = get_entry(source.dataset, tasks_dirs)
    faults: list[DataError] = []
    placed: list[tuple[str, Document]] = []
    for file in source.files:
        if file.split == "keys":
            continue
        try:
            rows, context = _rows(entry, Path(source.root), file)
            found = understand(rows, file.mapping, context)
        except DataError as error:
            faults.append(error)
            continue
        if not (file.pinned is True and tolerable(found)):
            faults += [document for _, document in found if isinstance(document, DataError)]
        placed += [(where, document) for where, document in found if isinstance(document, dict)]
    faults += repeated_ids(placed)
    # Samples are one file with two splits: faults that do not depend on the split were found twice.
    return tuple({str(error): error for error in faults}.values())


def read(source: Source, tasks_dirs: TasksDirs = ()) -> Reading:
    """Read the documents of a source into the canonical form.

    Args:
        source: What :func:`medbench.data.resolve` found.
        tasks_dirs: Folders whose `sources.yaml` add datasets.

    Raises:
        DataError: If a file is missing, damaged or not in the expected form; names file and row.
    """
    entry = get_entry(source.dataset, tasks_dirs)
    if source.kind == "hub":
        return _read_hub(entry, source.revision)
    return _read_files(entry, source.root, source.files)


@lru_cache(maxsize=64)
def _read_hub(entry: DatasetEntry, revision: str | None) -> Reading:
    return read_hub(entry, revision)


def content_fingerprint(reading: Reading) -> str:
    """Checksum over the documents, for sources without files."""
    parts = []
    for split, documents in reading.documents.items():
        digest = hashlib.sha256()
        for document in documents:
            digest.update(json.dumps(document, ensure_ascii=False, sort_keys=True).encode())
        parts.append((split, digest.hexdigest()))
    return fingerprint_of("documents", parts)


def settle(source: Source, tasks_dirs: TasksDirs = ()) -> Source:
    """Complete a source with what is only known after reading its documents.

    Returns:
        The source with its numbers of documents and excluded rows, and its fingerprint for the hub.

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
    """The lock file's entry for a settled source; for the hub, with the current commit of a branch."""
    revision = source.revision
    if source.kind == "hub":
        revision = commit_of(source.root, source.revision)
    return LockEntry(source.dataset, source.kind, revision, source.fingerprint, dict(source.documents or {}))


def to_datasets(documents: Mapping[str, tuple[Document, ...]], schema: str) -> dict[str, datasets.Dataset]:
    """Convert documents to one typed dataset per split, so that empty lists keep their type."""
    import datasets

    text, texts = datasets.Value("string"), datasets.Sequence(datasets.Value("string"))
    columns = EXAM_COLUMNS if schema == "exam" else PROMPTCBLUE_COLUMNS
    lists = {"letters", "options", "answer_choices"}
    every = (row for rows in documents.values() for row in rows)
    annotated = sorted({name for row in every for name in row.get(ANNOTATIONS, ())})
    result = {}
    for split, rows in documents.items():
        # Robustness modes add columns of text.
        added = (name for name in (rows[0] if rows else ()) if name not in (*columns, ANNOTATIONS))
        names = [*columns, *added]
        kinds = {name: texts if name in lists else text for name in names}
        values = {name: [row[name] for row in rows] for name in names}
        if annotated:
            # A structure must have the same fields in every document, and at least one field.
            kinds[ANNOTATIONS] = dict.fromkeys(annotated, text)
            values[ANNOTATIONS] = [
                {name: row[ANNOTATIONS].get(name, "") for name in annotated} for row in rows
            ]
        result[split] = datasets.Dataset.from_dict(values, features=datasets.Features(kinds))
    return result


@lru_cache(maxsize=256)
def _tell(dataset: str, notice: str, set_aside: tuple[SetAside, ...]) -> None:
    """Warn of what matters for the scores, once per dataset even if several protocols load it."""
    if notice:
        _log.warning("%s: %s", dataset, notice)
    for row in set_aside[:SHOWN]:
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
        data_dir: Data folder; None for that of ``MEDBENCH_DATA``, if set.
        data_source: ``auto``, ``folder``, ``folder-or-samples``, ``hub`` or ``samples``.
        shuffle_options: Seed for permuting the options of every exam document; None keeps their order.
        circular: Whether to repeat every exam document of the test split with each rotation of its options.
        tasks_dirs: Folders whose `sources.yaml` add datasets.
        config_source: The task's YAML, which lm-eval passes; a `sources.yaml` in its folder adds datasets, so
            that a task from outside brings its data along even under plain lm-eval.
        **_: Other metadata of the task.

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
