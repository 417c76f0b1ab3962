"""The register of datasets, read from `sources.yaml`.

The package has one such file beside this module. An external task folder may have its own, with sample
documents in `samples/` next to it; it can add datasets but not replace any.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from medbench.common.strict import COUNT, MAPPING, TEXT, Kind, check_mapping, choice, list_of
from medbench.common.suggest import nearest
from medbench.data.entries import DatasetEntry, FileChoice, HubEntry, PinnedFile, SplitEntry
from medbench.data.readers.formats import FORMATS
from medbench.errors import DataError

__all__ = [
    "DatasetEntry",
    "FileChoice",
    "HubEntry",
    "PinnedFile",
    "Register",
    "SplitEntry",
    "dataset_names",
    "get_entry",
    "pinned_files",
    "readable_register",
    "register",
]

_log = logging.getLogger("medbench.data")
_PACKAGE_FILE = Path(__file__).parent / "sources.yaml"
# Placeholder for a dataset's name in the settings that the datasets of a benchmark share.
_NAME = "{name}"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_KEY = re.compile(r"[a-z0-9][a-z0-9_]*")

_TOP_KEYS = {"files": MAPPING, "benchmarks": MAPPING}
_BENCHMARK_KEYS = {
    "title": TEXT,
    "schema": choice("exam", "promptcblue"),
    "language": TEXT,
    "licence": TEXT,
    "citation": TEXT,
    "homepage": TEXT,
    "contamination": TEXT,
    "hub": MAPPING,
    "splits": MAPPING,
    "datasets": MAPPING,
}
_DATASET_KEYS = {
    "n": COUNT,
    "name": TEXT,
    "subject": TEXT,
    "language": TEXT,
    "select": TEXT,
    "splits": MAPPING,
    "hub": MAPPING,
    "samples": TEXT,
}
_HUB_KEYS = {"id": TEXT, "config": TEXT, "splits": MAPPING, "revision": TEXT, "mapping": TEXT}
_SPLITS = {"test": MAPPING, "dev": MAPPING}
_SPLIT_KEYS = {"files": list_of(MAPPING), "only_keys": TEXT, "except_keys": TEXT}
_CHOICE_KEYS = {"path": TEXT, "format": choice(*FORMATS), "mapping": TEXT}
_FILE_KEYS = {
    "sha256": TEXT,
    "bytes": COUNT,
    "licence": TEXT,
    "repo": TEXT,
    "commit": TEXT,
    "path": TEXT,
    "note": TEXT,
}


@dataclass(frozen=True)
class Register:
    """The contents of all registers.

    Attributes:
        datasets: Datasets by key.
        files: Pinned files by path.
        faults: External registers that cannot be read, each with its error.
        contested: Keys that an external register uses although they are taken.
    """

    datasets: Mapping[str, DatasetEntry]
    files: Mapping[str, PinnedFile]
    faults: tuple[tuple[Path, DataError], ...] = ()
    contested: Mapping[str, DataError] = field(default_factory=dict)


def _checked(
    record: Any, kinds: Mapping[str, Kind], where: str, required: Iterable[str] = ()
) -> Mapping[str, Any]:
    return check_mapping(record, kinds, where=lambda _: where, error=DataError, required=required)


def _relative(path: Any, where: str) -> str:
    """Return a path if it stays inside the data folder."""
    text = str(path)
    parts = text.split("/")
    if (
        not text
        or text.startswith("/")
        or "\\" in text
        or ":" in text
        or any(p in ("", ".", "..") for p in parts)
    ):
        raise DataError(
            f"the path {text!r} leaves the data folder", where=where, hint="use a plain relative path"
        )
    return text


def _pinned(path: str, record: Any, where: str) -> PinnedFile:
    where = f"{where}, file {path}"
    record = _checked(record, _FILE_KEYS, where)
    checksum = record.get("sha256") or ""
    if not _SHA256.fullmatch(checksum):
        raise DataError("sha256 is missing or not 64 hex digits", where=where)
    return PinnedFile(
        path=_relative(path, where),
        sha256=checksum,
        bytes=record.get("bytes") or 0,
        licence=record.get("licence") or "",
        repo=record.get("repo"),
        commit=record.get("commit"),
        upstream_path=record.get("path"),
        note=record.get("note") or "",
    )


def _splits(record: Any, name: str, where: str) -> tuple[SplitEntry, ...]:
    splits = []
    for split, value in _checked(record or {}, _SPLITS, f"{where}, splits").items():
        place = f"{where}, split {split}"
        value = _checked(value, _SPLIT_KEYS, place)
        choices = []
        for file in value.get("files") or []:
            file = _checked(file, _CHOICE_KEYS, place, ("path", "format"))
            path = _relative(file["path"].replace(_NAME, name), place)
            choices.append(FileChoice(path, file["format"], file.get("mapping") or "canonical"))
        keys = [
            _relative(value[key], place) if value.get(key) else None for key in ("only_keys", "except_keys")
        ]
        splits.append(SplitEntry(split, tuple(choices), *keys))
    return tuple(splits)


def _hub(record: Any, name: str, where: str) -> HubEntry | None:
    if record is None:
        return None
    where = f"{where}, hub"
    record = _checked(record, _HUB_KEYS, where, ("id",))
    config = record.get("config")
    return HubEntry(
        id=record["id"].replace(_NAME, name),
        config=None if config is None else config.replace(_NAME, name),
        splits=tuple((str(ours), str(theirs)) for ours, theirs in (record.get("splits") or {}).items()),
        revision=record.get("revision"),
        mapping=record.get("mapping") or "canonical",
        revision_stated="revision" in record,
    )


def _entry(
    key: str, benchmark: str, shared: Mapping[str, Any], own: Any, where: str, folder: Path
) -> DatasetEntry:
    where = f"{where}, dataset {key}"
    if not _KEY.fullmatch(key):
        raise DataError(f"the name {key!r} is not lower-case letters, digits and underscores", where=where)
    own = _checked({} if own is None else own, _DATASET_KEYS, where)
    name = own.get("name") or key
    merged = {**shared, **own}
    missing = [field for field in ("schema", "language") if not merged.get(field)]
    if missing:
        raise DataError(
            f"{missing[0]!r} is missing", where=where, hint="state it in the benchmark or the dataset"
        )
    own_file = FileChoice(f"{key}.jsonl", "jsonl", "canonical")
    splits = _splits(merged.get("splits"), name, where)
    named = {split.split for split in splits}
    # A file in the canonical format takes precedence: somebody put it there on purpose.
    splits = tuple(
        SplitEntry(split.split, (own_file, *split.choices), split.only_keys, split.except_keys)
        for split in splits
    ) + tuple(SplitEntry(split, (own_file,)) for split in ("test", "dev") if split not in named)
    return DatasetEntry(
        key=key,
        benchmark=benchmark,
        title=merged.get("title") or key,
        schema=merged["schema"],
        language=merged["language"],
        subject=merged.get("subject") or "",
        select=merged.get("select") or "",
        licence=merged.get("licence") or "",
        citation=merged.get("citation") or "",
        homepage=merged.get("homepage") or "",
        contamination=merged.get("contamination") or "",
        hub=_hub(merged.get("hub"), name, where),
        splits=splits,
        samples=_samples(folder, merged.get("samples") or key, where),
        n=own.get("n"),
    )


def _samples(folder: Path, name: str, where: str) -> Path:
    """The file of a dataset's samples, which must be beside its register, also after following links."""
    file = folder / "samples" / f"{_relative(name, where)}.jsonl"
    if not file.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{file} leads out of its folder", where=where, hint="put the file itself there")
    return file


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe loading that refuses repeated keys, of which YAML would silently keep the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """The values of a mapping."""
        seen = set()
        for key, _ in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise ValueError(
                    f"the key {key.value!r} is written twice, again in line {key.start_mark.line + 1}"
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _parse(path: Path) -> Register:
    where = str(path)
    try:
        loaded = yaml.load(path.read_bytes(), Loader=_Loader)  # noqa: S506 a safe loader
    except (OSError, yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise DataError(
            f"the register cannot be read: {error}", where=where, hint="correct the YAML there"
        ) from error
    content = _checked(loaded or {}, _TOP_KEYS, where)
    files = {
        str(name): _pinned(str(name), record, where) for name, record in (content.get("files") or {}).items()
    }
    datasets: dict[str, DatasetEntry] = {}
    for benchmark, shared in (content.get("benchmarks") or {}).items():
        place = f"{where}, benchmark {benchmark}"
        shared = dict(_checked(shared, _BENCHMARK_KEYS, place))
        added: dict[str, DatasetEntry] = {}
        for key, own in (shared.pop("datasets", None) or {}).items():
            if key in datasets or key in added:
                raise DataError(f"the dataset {key!r} is defined twice", where=place)
            added[key] = _entry(str(key), str(benchmark), shared, own, place, path.parent)
        selects = frozenset(entry.select for entry in added.values() if entry.select)
        datasets |= {key: replace(entry, selects=selects) for key, entry in added.items()}
    return Register(datasets, files)


def _outside_files(tasks_dirs: Iterable[str | os.PathLike[str]]) -> tuple[Path, ...]:
    found = {path.resolve() for folder in tasks_dirs for path in Path(folder).rglob("sources.yaml")}
    return tuple(sorted(found))


@lru_cache(maxsize=32)
def _combined(outside: tuple[tuple[Path, int], ...]) -> Register:
    package = _parse(_PACKAGE_FILE)
    datasets, files = dict(package.datasets), dict(package.files)
    faults: list[tuple[Path, DataError]] = []
    contested: dict[str, DataError] = {}
    for path, _ in outside:
        try:
            added = _parse(path)
        except DataError as error:
            # One faulty register must not hide the others; using its datasets reports the fault.
            _log.warning("a register of datasets is left out: %s", error)
            faults.append((path, error))
            continue
        for key, entry in added.datasets.items():
            if key in datasets:
                contested[key] = DataError(
                    f"the dataset {key!r} exists already", where=str(path), hint="give it another name"
                )
                _log.warning("%s", contested[key])
            datasets.setdefault(key, entry)
        files = {**added.files, **files}
    return Register(datasets, files, tuple(faults), contested)


def readable_register(tasks_dirs: Iterable[str | os.PathLike[str]] = ()) -> Register:
    """Read all registers; a faulty external one does not hide the others.

    Args:
        tasks_dirs: Folders searched for further `sources.yaml`.

    Returns:
        The datasets, with unreadable registers in `faults` and repeated keys in `contested`.

    Raises:
        DataError: If the package's own register is faulty.
    """
    # The time of the last change is part of the cache key, so that an edited register is read again.
    return _combined(tuple((path, path.stat().st_mtime_ns) for path in _outside_files(tasks_dirs)))


def register(tasks_dirs: Iterable[str | os.PathLike[str]] = ()) -> Register:
    """All datasets: the package's own and those of external task folders.

    Args:
        tasks_dirs: Folders searched for further `sources.yaml`.

    Raises:
        DataError: If a register is faulty or replaces a dataset.
    """
    found = readable_register(tasks_dirs)
    for fault in (*(error for _, error in found.faults), *found.contested.values()):
        raise fault
    return found


def dataset_names(tasks_dirs: Iterable[str | os.PathLike[str]] = ()) -> tuple[str, ...]:
    """Names of all datasets, sorted."""
    return tuple(sorted(readable_register(tasks_dirs).datasets))


def get_entry(dataset: str, tasks_dirs: Iterable[str | os.PathLike[str]] = ()) -> DatasetEntry:
    """Return the entry of a dataset.

    Raises:
        DataError: If there is none, or more than one, of that name; suggests similar names.
    """
    known = readable_register(tasks_dirs)
    if dataset in known.contested:
        raise known.contested[dataset]
    if dataset in known.datasets:
        return known.datasets[dataset]
    for _, fault in known.faults:
        raise DataError(
            f"there is no dataset {dataset!r}, and a register of datasets cannot be read: {fault.what}",
            where=fault.where,
            hint=fault.hint,
        )
    near = nearest(dataset, known.datasets)
    raise DataError(
        f"there is no dataset {dataset!r}",
        hint=f"did you mean {near}?" if near else "`medbench data list` shows all datasets",
    )


def pinned_files(tasks_dirs: Iterable[str | os.PathLike[str]] = ()) -> Mapping[str, PinnedFile]:
    """Files with a known checksum, by their path in a data folder."""
    return readable_register(tasks_dirs).files
