"""The register of datasets, read from `sources.yaml`.

The package has one such file beside this module. An external task folder may have its own, with sample
documents in `samples/` next to it; it can add datasets but not replace any.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from medbench.common.strict import Count, Name, Record, expecting
from medbench.common.suggest import nearest
from medbench.common.yaml_files import read_yaml
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
_KEY = re.compile(r"[a-z0-9][a-z0-9_]*")


class _File(Record):
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$"), expecting("64 hex digits")]
    bytes: Count = 0
    licence: str = ""
    repo: str | None = None
    commit: str | None = None
    path: str | None = None
    note: str = ""


class _Choice(Record):
    path: Name
    format: Annotated[
        str, Field(pattern=f"^({'|'.join(FORMATS)})$"), expecting(f"one of {', '.join(FORMATS)}")
    ]
    mapping: str = "canonical"


class _Split(Record):
    files: list[_Choice] = Field(default_factory=list)
    only_keys: str | None = None
    except_keys: str | None = None


class _Splits(Record):
    test: _Split = _Split()
    dev: _Split = _Split()


class _Hub(Record):
    id: Name
    config: str | None = None
    splits: dict[str, str] = Field(default_factory=dict)
    revision: str | None = None
    mapping: str = "canonical"


class _Dataset(Record):
    n: Count | None = None
    name: str = ""
    subject: str = ""
    language: str = ""
    select: str = ""
    samples: str = ""
    splits: _Splits | None = None
    hub: _Hub | None = None


class _Benchmark(Record):
    title: str = ""
    kind: Literal["exam", "promptcblue"] = Field(alias="schema")
    language: str = ""
    licence: str = ""
    citation: str = ""
    homepage: str = ""
    contamination: str = ""
    splits: _Splits | None = None
    hub: _Hub | None = None
    datasets: dict[str, Annotated[_Dataset, BeforeValidator(lambda own: {} if own is None else own)]] = Field(
        default_factory=dict
    )


class _Content(Record):
    files: dict[str, _File] = Field(default_factory=dict)
    benchmarks: dict[str, _Benchmark] = Field(default_factory=dict)


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


def _pinned(path: str, written: _File, where: str) -> PinnedFile:
    known = written.model_dump(exclude={"path"})
    return PinnedFile(path=_relative(path, where), upstream_path=written.path, **known)


def _splits(key: str, name: str, written: _Splits | None, where: str) -> Iterator[SplitEntry]:
    for split, rule in written or _Splits():
        # A file in the canonical format takes precedence: somebody put it there on purpose.
        choices = [FileChoice(f"{key}.jsonl", "jsonl", "canonical")]
        for file in rule.files:
            path = _relative(file.path.replace(_NAME, name), where)
            choices.append(FileChoice(path, file.format, file.mapping))
        keys = (path and _relative(path, where) for path in (rule.only_keys, rule.except_keys))
        yield SplitEntry(split, tuple(choices), *keys)


def _hub(written: _Hub | None, name: str) -> HubEntry | None:
    if written is None:
        return None
    return HubEntry(
        id=written.id.replace(_NAME, name),
        config=written.config and written.config.replace(_NAME, name),
        splits=tuple(written.splits.items()),
        revision=written.revision,
        mapping=written.mapping,
        revision_stated="revision" in written.model_fields_set,
    )


def _entry(
    key: str, benchmark: str, shared: _Benchmark, own: _Dataset, folder: Path, where: str
) -> DatasetEntry:
    if not _KEY.fullmatch(key):
        raise DataError(f"the name {key!r} is not lower-case letters, digits and underscores", where=where)
    language = own.language or shared.language
    if not language:
        raise DataError("'language' is missing", where=where, hint="state it in the benchmark or the dataset")
    splits, hub = (
        getattr(own if name in own.model_fields_set else shared, name) for name in ("splits", "hub")
    )
    name = own.name or key
    return DatasetEntry(
        key=key,
        benchmark=benchmark,
        title=shared.title or key,
        schema=shared.kind,
        language=language,
        subject=own.subject,
        select=own.select,
        licence=shared.licence,
        citation=shared.citation,
        homepage=shared.homepage,
        contamination=shared.contamination,
        hub=_hub(hub, name),
        splits=tuple(_splits(key, name, splits, where)),
        samples=_samples(folder, own.samples or key, where),
        n=own.n,
        selects=frozenset(each.select for each in shared.datasets.values() if each.select),
    )


def _samples(folder: Path, name: str, where: str) -> Path:
    """The file of a dataset's samples, which must be beside its register, also after following links."""
    file = folder / "samples" / f"{_relative(name, where)}.jsonl"
    if not file.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{file} leads out of its folder", where=where, hint="put the file itself there")
    return file


def _parse(path: Path) -> Register:
    file = read_yaml(path, DataError, may_be_empty=True)
    written = file.record(_Content)
    at = file.place
    files = {
        name: _pinned(name, record, file.place(("files", name))) for name, record in written.files.items()
    }
    datasets: dict[str, DatasetEntry] = {}
    for benchmark, shared in written.benchmarks.items():
        for key, own in shared.datasets.items():
            where = at(("benchmarks", benchmark, "datasets", key))
            if key in datasets:
                raise DataError(f"the dataset {key!r} is defined twice", where=where)
            datasets[key] = _entry(key, benchmark, shared, own, path.parent, where)
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
