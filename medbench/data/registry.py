"""The register of datasets: what `sources.yaml` says about each, as frozen records.

The package has one such file beside this module. A task folder from outside may hold one of its own, with
its sample documents in `samples/` next to it; it can add datasets but never replace one.
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
_SHA256 = re.compile(r"[0-9a-f]{64}")
_KEY = re.compile(r"[a-z0-9][a-z0-9_]*")

_TOP_KEYS = frozenset({"files", "benchmarks"})
_BENCHMARK_KEYS = frozenset(
    {
        "title",
        "schema",
        "language",
        "licence",
        "citation",
        "homepage",
        "contamination",
        "hub",
        "splits",
        "datasets",
    }
)
_DATASET_KEYS = frozenset({"n", "name", "subject", "language", "select", "splits", "hub", "samples"})
_HUB_KEYS = frozenset({"id", "config", "splits", "revision", "mapping"})
_SPLIT_KEYS = frozenset({"files", "only_keys", "except_keys"})
_CHOICE_KEYS = frozenset({"path", "format", "mapping"})
_FILE_KEYS = frozenset({"sha256", "bytes", "licence", "repo", "commit", "path", "note"})


@dataclass(frozen=True)
class Register:
    """All that registers say.

    Attributes:
        datasets: Datasets by key.
        files: Pinned files by path.
        faults: Registers from outside that cannot be read, each with its error.
        contested: Keys that a register from outside gives to a dataset of its own although they are taken.
    """

    datasets: Mapping[str, DatasetEntry]
    files: Mapping[str, PinnedFile]
    faults: tuple[DataError, ...] = ()
    contested: Mapping[str, DataError] = field(default_factory=dict)


def _check_keys(record: Any, known: frozenset[str], where: str) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise DataError(f"found {type(record).__name__}, expected keys with values", where=where)
    unknown = sorted(str(key) for key in record if key not in known)
    if unknown:
        raise DataError(
            f"unknown key {unknown[0]!r}",
            where=where,
            hint=f"the keys known here are {', '.join(sorted(known))}",
        )
    return record


def _relative(path: Any, where: str) -> str:
    """A path inside a data folder, never out of it."""
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
    record = _check_keys(record, _FILE_KEYS, where)
    checksum = str(record.get("sha256", ""))
    if not _SHA256.fullmatch(checksum):
        raise DataError("sha256 is missing or not 64 hex digits", where=where)
    return PinnedFile(
        path=_relative(path, where),
        sha256=checksum,
        bytes=int(record.get("bytes", 0)),
        licence=str(record.get("licence", "")),
        repo=record.get("repo"),
        commit=record.get("commit"),
        upstream_path=record.get("path"),
        note=str(record.get("note", "")),
    )


def _splits(record: Any, name: str, where: str) -> tuple[SplitEntry, ...]:
    splits = []
    for split, value in _check_keys(record or {}, frozenset({"test", "dev"}), f"{where}, splits").items():
        place = f"{where}, split {split}"
        value = _check_keys(value, _SPLIT_KEYS, place)
        choices = []
        for choice in value.get("files") or []:
            choice = _check_keys(choice, _CHOICE_KEYS, place)
            if choice.get("format") not in FORMATS:
                raise DataError(
                    f"unknown format {choice.get('format')!r}",
                    where=place,
                    hint=f"one of {', '.join(FORMATS)}",
                )
            path = _relative(str(choice.get("path", "")).format(name=name), place)
            choices.append(FileChoice(path, choice["format"], str(choice.get("mapping", "canonical"))))
        keys = [
            _relative(value[key], place) if value.get(key) else None for key in ("only_keys", "except_keys")
        ]
        splits.append(SplitEntry(split, tuple(choices), *keys))
    return tuple(splits)


def _hub(record: Any, name: str, where: str) -> HubEntry | None:
    if record is None:
        return None
    where = f"{where}, hub"
    record = _check_keys(record, _HUB_KEYS, where)
    config = record.get("config")
    return HubEntry(
        id=str(record.get("id", "")).format(name=name),
        config=None if config is None else str(config).format(name=name),
        splits=tuple((str(ours), str(theirs)) for ours, theirs in (record.get("splits") or {}).items()),
        revision=record.get("revision"),
        mapping=str(record.get("mapping", "canonical")),
        revision_stated="revision" in record,
    )


def _entry(
    key: str, benchmark: str, shared: dict[str, Any], own: Any, where: str, samples: Path
) -> DatasetEntry:
    where = f"{where}, dataset {key}"
    if not _KEY.fullmatch(key):
        raise DataError(f"the name {key!r} is not lower-case letters, digits and underscores", where=where)
    own = _check_keys(own or {}, _DATASET_KEYS, where)
    name = str(own.get("name", key))
    merged = {**shared, **own}
    for name_of, value in merged.items():
        if isinstance(value, bool):
            raise DataError(
                f"{name_of} is {str(value).lower()}, a truth value",
                where=where,
                hint="YAML reads no, yes, on and off as truth values; put the word in quotes",
            )
    missing = [field for field in ("schema", "language") if not merged.get(field)]
    if missing:
        raise DataError(
            f"{missing[0]!r} is missing", where=where, hint="state it in the benchmark or the dataset"
        )
    if merged["schema"] not in ("exam", "promptcblue"):
        raise DataError(f"unknown schema {merged['schema']!r}", where=where, hint="exam or promptcblue")
    own_file = FileChoice(f"{key}.jsonl", "jsonl", "canonical")
    splits = _splits(merged.get("splits"), name, where)
    named = {split.split for split in splits}
    # Any dataset may lie in a folder in canonical form, which comes first: whoever puts it there means it.
    splits = tuple(
        SplitEntry(split.split, (own_file, *split.choices), split.only_keys, split.except_keys)
        for split in splits
    ) + tuple(SplitEntry(split, (own_file,)) for split in ("test", "dev") if split not in named)
    return DatasetEntry(
        key=key,
        benchmark=benchmark,
        title=str(merged.get("title", key)),
        schema=merged["schema"],
        language=str(merged["language"]),
        subject=str(merged.get("subject", "")),
        select=str(merged.get("select", "")),
        licence=str(merged.get("licence") or ""),
        citation=str(merged.get("citation") or ""),
        homepage=str(merged.get("homepage", "")),
        contamination=str(merged.get("contamination", "")),
        hub=_hub(merged.get("hub"), name, where),
        splits=splits,
        samples=samples / f"{merged.get('samples', key)}.jsonl",
        n=int(own["n"]) if isinstance(own.get("n"), int) else None,
    )


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe loading that refuses a key written twice, of which YAML keeps the last without a word."""

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


def _mapping(value: Any, where: str) -> dict[Any, Any]:
    if value is not None and not isinstance(value, dict):
        raise DataError(f"expected names with entries, not {str(value)[:40]!r}", where=where)
    return value or {}


def _parse(path: Path) -> Register:
    where = str(path)
    try:
        loaded = yaml.load(path.read_bytes(), Loader=_Loader)  # noqa: S506 a safe loader
    except (OSError, yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise DataError(f"the register cannot be read: {error}", where=where, hint="mend the YAML") from error
    content = _check_keys(loaded or {}, _TOP_KEYS, where)
    files = {
        str(name): _pinned(str(name), record, where)
        for name, record in _mapping(content.get("files"), f"{where}, files").items()
    }
    datasets: dict[str, DatasetEntry] = {}
    for benchmark, shared in _mapping(content.get("benchmarks"), f"{where}, benchmarks").items():
        place = f"{where}, benchmark {benchmark}"
        shared = dict(_check_keys(shared, _BENCHMARK_KEYS, place))
        added: dict[str, DatasetEntry] = {}
        for key, own in _mapping(shared.pop("datasets", None), f"{place}, datasets").items():
            if key in datasets or key in added:
                raise DataError(f"the dataset {key!r} is defined twice", where=place)
            added[key] = _entry(str(key), str(benchmark), shared, own, place, path.parent / "samples")
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
    faults: list[DataError] = []
    contested: dict[str, DataError] = {}
    for path, _ in outside:
        try:
            added = _parse(path)
        except DataError as error:
            # One faulty register must not hide the others; whoever asks for its datasets is told.
            _log.warning("a register of datasets is left out: %s", error)
            faults.append(error)
            continue
        for key, entry in added.datasets.items():
            if key in datasets:
                contested[key] = DataError(
                    f"the dataset {key!r} exists already", where=str(path), hint="give it a name of its own"
                )
                _log.warning("%s", contested[key])
            datasets.setdefault(key, entry)
        files = {**added.files, **files}
    return Register(datasets, files, tuple(faults), contested)


def readable_register(tasks_dirs: Iterable[str | os.PathLike[str]] = ()) -> Register:
    """All datasets that can be read: one faulty register hides no other.

    Args:
        tasks_dirs: Folders searched for further `sources.yaml`.

    Returns:
        What could be read; what could not is among its `faults`, and keys given twice are `contested`.

    Raises:
        DataError: If the package's own register is faulty.
    """
    # The time of change is part of the key, so that an edited register is read again.
    return _combined(tuple((path, path.stat().st_mtime_ns) for path in _outside_files(tasks_dirs)))


def register(tasks_dirs: Iterable[str | os.PathLike[str]] = ()) -> Register:
    """All datasets: the package's and those that task folders from outside add.

    Args:
        tasks_dirs: Folders searched for further `sources.yaml`.

    Raises:
        DataError: If a register is faulty or replaces a dataset.
    """
    found = readable_register(tasks_dirs)
    for fault in (*found.faults, *found.contested.values()):
        raise fault
    return found


def dataset_names(tasks_dirs: Iterable[str | os.PathLike[str]] = ()) -> tuple[str, ...]:
    """Names of all datasets, sorted."""
    return tuple(sorted(readable_register(tasks_dirs).datasets))


def get_entry(dataset: str, tasks_dirs: Iterable[str | os.PathLike[str]] = ()) -> DatasetEntry:
    """What is known about a dataset.

    Raises:
        DataError: If there is none of that name, or two; suggests the nearest ones.
    """
    known = readable_register(tasks_dirs)
    if dataset in known.contested:
        raise known.contested[dataset]
    if dataset in known.datasets:
        return known.datasets[dataset]
    for fault in known.faults:
        raise DataError(
            f"there is no dataset {dataset!r}, and a register of datasets cannot be read: {fault.what}",
            where=fault.where,
            hint=fault.hint,
        )
    from difflib import get_close_matches

    near = get_close_matches(dataset, known.datasets, n=3)
    raise DataError(
        f"there is no dataset {dataset!r}",
        hint=f"did you mean {' or '.join(near)}?" if near else "`medbench data list` shows all datasets",
    )


def pinned_files(tasks_dirs: Iterable[str | os.PathLike[str]] = ()) -> Mapping[str, PinnedFile]:
    """Files with a known checksum, by their path in a data folder."""
    return readable_register(tasks_dirs).files
