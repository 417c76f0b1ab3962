"""Where the documents of an external task may come from: its own folders and datasets on the hub."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

from medbench.common.yaml_files import Key

# Loaders of the datasets library that read tables and texts; others unpickle, or ask a database.
_TABLES = frozenset({"arrow", "csv", "json", "parquet"})
_TEXTS = frozenset({"text"})
_PACKED = frozenset({".gz", ".bz2", ".xz", ".zst", ".lz4"})
_SUFFIXES = frozenset({".arrow", ".csv", ".json", ".jsonl", ".ndjson", ".parquet", ".tsv", ".txt"})
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_HUB_PREFIX = "hf://datasets/"
# A dataset card may name files anywhere, and the loader that reads them.
_CARD = "README.md"
_CARD_PLACES = re.compile(rb"^(?:configs|data_files|data_dir|builder_name)\s*:", re.MULTILINE)
_MOST_FILES = 10_000

# fmt: off
# Keys that describe the format of the data. Locations, credentials and code have other keys.
_SETTINGS = frozenset([
    "column_names", "columns", "comment", "data_dir", "data_files", "decimal", "delimiter", "doublequote",
    "encoding", "encoding_errors", "escapechar", "features", "field", "header", "keep_default_na",
    "keep_linebreaks", "lineterminator", "na_values", "name", "names", "nrows", "on_bad_lines", "quotechar",
    "quoting", "revision", "sample_by", "sep", "skip_blank_lines", "skipinitialspace", "skiprows",
    "streaming", "thousands", "trust_remote_code", "usecols", "verification_mode",
])
# fmt: on


@dataclass(frozen=True)
class Folders:
    """Folders below which an external task may read.

    Attributes:
        own: Given by name for reading: its folder of tasks and the data folder.
        near: The working folder and the parent of its task folder. Tables there may be read as well, unless
            such a folder is a home folder or the root.
    """

    own: tuple[Path, ...]
    near: tuple[Path, ...]

    @classmethod
    def of(cls, tasks: Iterable[Path], data: str | os.PathLike[str] | None = None) -> Folders:
        """The folders that tasks in these folders may read, with the data folder of the run."""
        named = data or os.environ.get("MEDBENCH_DATA")
        own = [folder.resolve() for folder in tasks]
        home = Path.home().resolve()
        near = [Path.cwd().resolve(), *(folder.parent for folder in own)]
        own += [Path(named).expanduser().resolve()] if named else []
        return cls(tuple(own), tuple(folder for folder in near if not home.is_relative_to(folder)))

    def hold(self, path: Path, *, near: bool = True) -> bool:
        """Whether a path, with links resolved, is below one of the folders and in no hidden one."""
        resolved = path.resolve()
        return any(
            resolved.is_relative_to(folder)
            and not any(part.startswith(".") for part in resolved.relative_to(folder).parts)
            for folder in (*self.own, *(self.near if near else ()))
        )


def data_faults(values: Mapping[str, Any], folders: Folders) -> Iterator[tuple[Key, str]]:
    """Find data settings of a task that reach beyond the folders and the hub's datasets.

    Args:
        values: The task's settings.
        folders: Where it may read.

    Yields:
        The path of a setting, and what is wrong with it.
    """
    builder, settings = values.get("dataset_path"), values.get("dataset_kwargs")
    if isinstance(builder, str):
        fault = _builder_fault(builder, folders)
        if fault:
            yield ("dataset_path",), fault
    for name, value in settings.items() if isinstance(settings, Mapping) else ():
        way: Key = ("dataset_kwargs", str(name))
        if name not in _SETTINGS:
            yield way, f"dataset_kwargs.{name} is no setting of tables and texts"
        elif name == "trust_remote_code" and value:
            yield way, "trust_remote_code: true"
        elif name in ("data_files", "data_dir"):
            for text in _texts(value):
                fault = _place_fault(text, builder, folders)
                if fault:
                    yield way, fault
    metadata = values.get("metadata")
    if isinstance(metadata, Mapping) and "tasks_dirs" in metadata:
        yield ("metadata", "tasks_dirs"), "metadata.tasks_dirs names folders of tasks"
    prompt = values.get("use_prompt")
    if prompt is not None and not str(prompt).startswith("qa-basic:"):
        yield ("use_prompt",), f"use_prompt: {prompt} is read from elsewhere"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif value is not None:
        yield str(value)


def _builder_fault(builder: str, folders: Folders) -> str | None:
    if builder in _TABLES | _TEXTS:
        return None
    if builder.startswith(_HUB_PREFIX):
        return None if "::" not in builder else f"dataset_path: {builder} is no data set of the hub"
    if "://" in builder or "::" in builder:
        return f"dataset_path: {builder} is read over the network"
    local = Path(builder).expanduser()
    if local.exists() or builder.startswith(("/", ".", "~")):
        return _folder_fault(local, folders)
    if _HUB_NAME.fullmatch(builder) and not builder.startswith("buckets/"):
        return None
    return f"dataset_path: {builder} is neither a loader of tables or texts nor a data set"


def _place_fault(text: str, builder: Any, folders: Folders) -> str | None:
    """Find what a file, pattern, folder or address reaches beyond the folders."""
    if text.startswith(_HUB_PREFIX) and "::" not in text:
        return None
    if "://" in text or "::" in text:
        return f"{text} is read over the network"
    path = Path(text).expanduser()
    on_hub = isinstance(builder, str) and builder not in _TABLES | _TEXTS and not Path(builder).exists()
    if on_hub and not path.is_absolute() and ".." not in path.parts:
        return None
    near = builder not in _TEXTS
    if not folders.hold(_fixed(path), near=near):
        return f"{text} lies outside its folders"
    # The datasets library expands patterns and resolves paths from the working folder.
    names = glob.iglob(str(path), recursive=True)  # noqa: PTH207 Path.glob takes no absolute pattern
    found = [Path(name) for name in islice(names, _MOST_FILES)]
    for one in found or [path]:
        if one.is_dir():
            fault = _folder_fault(one, folders, near=near)
        elif not folders.hold(one, near=near):
            fault = f"{text} lies outside its folders"
        else:
            fault = None if not found or (one.is_file() and _is_data(one)) else f"{text} is no file of data"
        if fault:
            return fault
    return None


def _fixed(path: Path) -> Path:
    """The part of a pattern before its first wildcard: the folder that is searched."""
    parts = list(takewhile(lambda part: not glob.has_magic(part), path.parts))
    return Path(*parts)


def _is_data(path: Path) -> bool:
    suffix = path.suffix.lower()
    return (Path(path.stem).suffix.lower() if suffix in _PACKED else suffix) in _SUFFIXES


def _folder_fault(folder: Path, folders: Folders, *, near: bool = True) -> str | None:
    """Find what reading a folder as a dataset reaches: links that lead out, cards that name other files."""
    if not folders.hold(folder, near=near):
        return f"{folder} lies outside its folders"
    for path in islice(_files(folder), _MOST_FILES):
        if path.is_symlink() and not folders.hold(path, near=near):
            return f"{path} leads out of its folders"
        if not path.is_dir() and not path.is_file():
            return f"{path} is no file of data"
        if path.name == _CARD and _CARD_PLACES.search(path.read_bytes()):
            return f"{path} names files of its own"
    return None


def _files(folder: Path) -> Iterator[Path]:
    for place, names, files in os.walk(folder):
        for name in (*names, *files):
            yield Path(place, name)
