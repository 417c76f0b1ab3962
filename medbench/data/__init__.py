"""Datasets: a user's folder, the hub, or the bundled samples, read into canonical documents."""

from __future__ import annotations

from medbench.data.loading import load, read, settle
from medbench.data.reading import Reading, SetAside
from medbench.data.registry import (
    DatasetEntry,
    PinnedFile,
    SplitEntry,
    dataset_names,
    get_entry,
    pinned_files,
)
from medbench.data.sources import Source, SourceFile, require_any, resolve

__all__ = [
    "DatasetEntry",
    "PinnedFile",
    "Reading",
    "SetAside",
    "Source",
    "SourceFile",
    "SplitEntry",
    "dataset_names",
    "get_entry",
    "load",
    "pinned_files",
    "read",
    "require_any",
    "resolve",
    "settle",
]
