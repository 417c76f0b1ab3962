"""Keeping what `datasets` caches true of what lies there now.

It knows local files by their path and time of change alone, and the result of a function that a task maps
over its documents by the function alone, not by what that reads or imports. A file restored with its old
time, or an edited helper, would give the documents of then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medbench.common.files import sha256_of

__all__ = ["fresh_datasets"]


@contextmanager
def fresh_datasets() -> Iterator[None]:
    """Let `datasets` know local files by their content, too, and map functions anew."""
    import datasets
    from datasets import data_files

    known = data_files._get_single_origin_metadata
    enabled = datasets.is_caching_enabled()

    def with_content(data_file: str, *arguments: Any, **keywords: Any) -> Any:
        found = known(data_file, *arguments, **keywords)
        path = Path(data_file.removeprefix("file://"))
        return (*found, sha256_of(path)) if "://" not in str(path) and path.is_file() else found

    data_files._get_single_origin_metadata = with_content
    datasets.disable_caching()
    try:
        yield
    finally:
        data_files._get_single_origin_metadata = known
        if enabled:
            datasets.enable_caching()
