"""The sources of a dataset (folder, hub, bundled samples), and what exactly was found there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medbench.common.choices import DATA_SOURCES
from medbench.common.files import sha256_of
from medbench.data.locking import LockEntry, locked_entry
from medbench.data.registry import (
    DatasetEntry,
    PinnedFile,
    SplitEntry,
    get_entry,
    pinned_files,
    readable_register,
)
from medbench.errors import DataError

DATA_VARIABLE = "MEDBENCH_DATA"
_OWN_SAMPLES = Path(__file__).parent / "samples"
_SAMPLES_LICENCE = "Apache-2.0"
TasksDirs = Sequence[str | os.PathLike[str]]
SAMPLES_NOTICE = "bundled samples, not a benchmark score"


@dataclass(frozen=True)
class SourceFile:
    """A file with documents.

    Attributes:
        path: Its path, relative to the data folder or the samples folder.
        split: The split it belongs to, or ``keys`` if it only says which records belong to which split.
        sha256: Checksum of its current content.
        bytes: Its size.
        pinned: Whether it equals the pinned file; None if nothing is pinned for that path.
        format: Name of its file format.
        mapping: Name of the mapping from its rows to documents.
    """

    path: str
    split: str
    sha256: str
    bytes: int
    pinned: bool | None
    format: str
    mapping: str


@dataclass(frozen=True)
class Source:
    """The source found for a dataset.

    Attributes:
        dataset: Key of the dataset.
        kind: ``folder``, ``hub`` or ``samples``.
        files: The files used; empty for the hub.
        fingerprint: Checksum over the kind, the splits and the contents; empty for the hub until it is read.
        revision: Revision on the hub; None if none is pinned.
        licence: License of the dataset.
        root: Folder of the files, or the id of the dataset on the hub.
        locked: The entry of the lock file for the dataset, if there is one.
        documents: Number of documents by split; None until they are read.
        set_aside: Number of rows that cannot be scored; None until the documents are read.
    """

    dataset: str
    kind: str
    files: tuple[SourceFile, ...]
    fingerprint: str
    revision: str | None
    licence: str
    root: str
    locked: LockEntry | None = None
    documents: Mapping[str, int] | None = None
    set_aside: int | None = None

    @property
    def is_samples(self) -> bool:
        """Whether these are the bundled samples, whose scores say nothing about a benchmark."""
        return self.kind == "samples"

    @property
    def notice(self) -> str:
        """What every output must say about this source; empty for complete real data as pinned."""
        if self.is_samples:
            return SAMPLES_NOTICE
        altered = dict.fromkeys(file.path for file in self.files if file.pinned is False)
        remarks = [f"differs from the pinned file: {', '.join(altered)}"] if altered else []
        if self.kind == "hub" and self.revision is None:
            remarks.append("hub revision not pinned; `medbench data lock` records it")
        if self.locked is not None and self.fingerprint and self.locked.fingerprint != self.fingerprint:
            remarks.append("differs from what the lock file recorded")
        if self.set_aside:
            remarks.append(f"{self.set_aside} rows set aside, because they cannot be scored")
        return "; ".join(remarks)


def fingerprint_of(kind: str, parts: Iterable[tuple[str, str]]) -> str:
    """Checksum over (split or path, checksum) pairs, independent of their order."""
    lines = [kind, *sorted(f"{name} {checksum}" for name, checksum in parts)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _inside(root: Path, relative: str) -> Path | None:
    """The file below a folder, or None if there is none; links may not lead out of the folder."""
    path = root / relative
    if not path.is_file():
        return None
    if not path.resolve().is_relative_to(root.resolve()):
        raise DataError(
            f"{relative} leads out of the data folder", where=str(root), hint="copy the file instead"
        )
    return path


def _source_file(
    root: Path, path: Path, split: str, file_format: str, mapping: str, pins: Mapping[str, PinnedFile]
) -> SourceFile:
    relative = path.relative_to(root).as_posix()
    try:
        checksum = sha256_of(path)
    except OSError as error:
        raise DataError(
            f"the file cannot be read: {error.strerror}", where=str(path), hint="check its permissions"
        ) from error
    pin = pins.get(relative)
    return SourceFile(
        path=relative,
        split=split,
        sha256=checksum,
        bytes=path.stat().st_size,
        pinned=None if pin is None else pin.sha256 == checksum,
        format=file_format,
        mapping=mapping,
    )


def _split_files(root: Path, split: SplitEntry, pins: Mapping[str, PinnedFile]) -> list[SourceFile]:
    for choice in split.choices:
        path = _inside(root, choice.path)
        if path is None:
            continue
        files = [_source_file(root, path, split.split, choice.format, choice.mapping, pins)]
        keys = split.only_keys or split.except_keys
        # Documents in the canonical format name their split.
        if keys and choice.mapping != "canonical":
            key_file = _inside(root, keys)
            if key_file is None:
                raise DataError(
                    f"{keys} is missing; it says which records of {choice.path} are the test set",
                    where=str(root),
                    hint="`medbench data fetch` gets both",
                )
            files.append(_source_file(root, key_file, "keys", "json_keys", "", pins))
        return files
    return []


def _folder_source(entry: DatasetEntry, root: Path, tasks_dirs: TasksDirs) -> Source | None:
    pins = pinned_files(tasks_dirs)
    found = [file for split in entry.splits for file in _split_files(root, split, pins)]
    if not any(file.split == "test" for file in found):
        return None
    locked = locked_entry(entry.key)
    # Both splits may use the same file of keys.
    files = tuple(dict.fromkeys(found))
    return Source(
        dataset=entry.key,
        kind="folder",
        files=files,
        fingerprint=fingerprint_of("folder", ((file.split, file.sha256) for file in files)),
        revision=None,
        licence=entry.licence,
        root=str(root),
        locked=locked if locked is not None and locked.kind == "folder" else None,
    )


def _samples_source(entry: DatasetEntry) -> Source:
    path = entry.samples
    if not path.is_file():
        raise DataError(
            f"the dataset {entry.key!r} has no bundled samples",
            where=str(path),
            hint="name a folder with its files by --data-dir",
        )
    checksum = sha256_of(path)
    files = tuple(
        SourceFile(path.name, split, checksum, path.stat().st_size, None, "jsonl", "canonical")
        for split in ("test", "dev")
    )
    return Source(
        dataset=entry.key,
        kind="samples",
        files=files,
        fingerprint=fingerprint_of("samples", [("samples", checksum)]),
        revision=None,
        # The bundled samples have their own license; those of an external task have that of its dataset.
        licence=_SAMPLES_LICENCE if path.parent == _OWN_SAMPLES else entry.licence,
        root=str(path.parent),
    )


def _hub_source(entry: DatasetEntry) -> Source:
    if entry.hub is None:
        raise DataError(
            f"the dataset {entry.key!r} has no known place on the hub",
            hint="name a folder with its files by --data-dir",
        )
    locked = locked_entry(entry.key)
    if locked is not None and locked.kind != "hub":
        locked = None
    return Source(
        dataset=entry.key,
        kind="hub",
        files=(),
        fingerprint="",
        revision=entry.hub.revision or (locked.revision if locked else None),
        licence=entry.licence,
        root=entry.hub.id,
        locked=locked,
    )


def _data_root(data_dir: str | os.PathLike[str] | None) -> Path | None:
    named = data_dir or os.environ.get(DATA_VARIABLE)
    if not named:
        return None
    root = Path(named).expanduser()
    if not root.is_dir():
        raise DataError(
            "the data folder does not exist",
            where=str(root),
            hint=f"check --data-dir or {DATA_VARIABLE}; `medbench data fetch` fills a folder",
        )
    return root


def _not_in_folder(entry: DatasetEntry, root: Path) -> DataError:
    tests = [choice.path for split in entry.splits if split.split == "test" for choice in split.choices]
    return DataError(
        f"the data folder has no file of the dataset {entry.key!r}; expected {' or '.join(tests)}",
        where=str(root),
        hint="`medbench data fetch` gets pinned files; --source samples takes bundled samples",
    )


def resolve(
    dataset: str,
    data_dir: str | os.PathLike[str] | None = None,
    data_source: str = "auto",
    tasks_dirs: TasksDirs = (),
) -> Source:
    """Find the source of a dataset, without reading its documents and without the network.

    ``auto`` takes the folder if one is named (by `data_dir` or ``MEDBENCH_DATA``), else the bundled samples.
    A named folder without the dataset is an error, because a score on samples could be mistaken for one on
    the benchmark; ``folder-or-samples`` accepts that. The hub is only used if `data_source` is ``hub``.

    Args:
        dataset: Key of the dataset.
        data_dir: Folder in the documented layout; None for ``MEDBENCH_DATA``, if set.
        data_source: One of :data:`medbench.common.choices.DATA_SOURCES`.
        tasks_dirs: Folders whose `sources.yaml` add datasets.

    Returns:
        The source, with its files, their checksums and whether each equals its pin.

    Raises:
        DataError: If the dataset or the source is unknown, or the source does not have it.
    """
    if data_source not in DATA_SOURCES:
        raise DataError(f"unknown data source {data_source!r}", hint=f"one of {', '.join(DATA_SOURCES)}")
    entry = get_entry(dataset, tasks_dirs)
    if data_source == "samples":
        return _samples_source(entry)
    if data_source == "hub":
        return _hub_source(entry)
    root = _data_root(data_dir)
    if root is None:
        if data_source == "folder":
            raise DataError(
                "no data folder was named",
                hint=f"use --data-dir, or set {DATA_VARIABLE}, or --source samples",
            )
        return _samples_source(entry)
    found = _folder_source(entry, root, tasks_dirs)
    if found is not None:
        return found
    if data_source == "folder-or-samples":
        return _samples_source(entry)
    raise _not_in_folder(entry, root)


def require_any(
    datasets: Iterable[str],
    data_dir: str | os.PathLike[str] | None = None,
    tasks_dirs: TasksDirs = (),
) -> None:
    """Refuse a named folder that has none of the requested datasets, even if samples may replace them.

    Raises:
        DataError: If a folder is named, by argument or environment, and has no dataset.
    """
    root = _data_root(data_dir)
    wanted = sorted(set(datasets))
    if root is None or not wanted:
        return
    entries = [get_entry(dataset, tasks_dirs) for dataset in wanted]
    if any(_folder_source(entry, root, tasks_dirs) for entry in entries):
        return
    expected = sorted({path for entry in entries for path in entry.expected_files})
    shown = ", ".join(expected[:6]) + (", …" if len(expected) > 6 else "")
    raise DataError(
        f"the data folder has no file of any dataset asked for ({', '.join(wanted[:6])}); expected {shown}",
        where=str(root),
        hint="`medbench data fetch` gets pinned files; without --data-dir the bundled samples are used",
    )


def _state_of(source: Source) -> str:
    """The state of a source in a few words."""
    if source.kind != "folder":
        return source.kind
    pinned = {file.pinned for file in source.files}
    return "folder, differs" if False in pinned else "folder, not pinned" if None in pinned else "folder"


def _sample_count(path: Path) -> int | None:
    """Number of test documents among bundled samples, counted by lines."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return None
    # Samples have one document per line; the examples among them contain this text.
    return sum(bool(line.strip()) and b'"split": "dev"' not in line for line in lines)


def summarize(
    dataset: str, data_dir: Path | None = None, data_source: str = "auto", tasks_dirs: TasksDirs = ()
) -> dict[str, Any]:
    """Source state, number of test documents and license of a dataset.

    Args:
        dataset: Key of the dataset.
        data_dir: Folder with benchmark files.
        data_source: As for :func:`medbench.data.resolve`.
        tasks_dirs: Folders whose `sources.yaml` add datasets.

    Returns:
        `source` (``missing`` if there is none), `n` (None unless it is known without reading: for bundled
        samples and files equal to their pins) and `licence`.
    """
    entry = readable_register(tasks_dirs).datasets.get(dataset)
    if entry is None:
        return {"source": "unknown dataset", "n": None, "licence": None}
    try:
        found = resolve(dataset, data_dir, data_source, tasks_dirs)
    except DataError:
        return {"source": "missing", "n": None, "licence": entry.licence}
    n = None
    if found.is_samples:
        n = _sample_count(entry.samples)
    elif found.kind == "folder" and all(file.pinned for file in found.files if file.split == "test"):
        n = entry.n
    return {"source": _state_of(found), "n": n, "licence": entry.licence}
