"""Summary of a dataset for listings, found without reading its documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medbench.data.registry import readable_register
from medbench.data.sources import Source, TasksDirs, resolve
from medbench.errors import DataError

__all__ = ["state_of", "summarize"]


def state_of(source: Source) -> str:
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
    return {"source": state_of(found), "n": n, "licence": entry.licence}
