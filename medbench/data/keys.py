"""Files of keys, which say which records of a file are the test split, and perhaps their labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from medbench.data.readers.strict_json import parse_json, refuse_repeated
from medbench.data.registry import DatasetEntry
from medbench.data.rows import Row
from medbench.errors import DataError

# The column that repeats the label which the file of keys gives.
_LABEL = "final_decision"


def _keys(path: Path) -> Mapping[str, Any]:
    """The listed keys with their labels; the labels are None if the file is a plain list."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(
            f"the keys cannot be read: {error}", where=str(path), hint="fetch the file again"
        ) from error
    loaded = parse_json(text, str(path))
    refuse_repeated(loaded, str(path))
    if isinstance(loaded, dict):
        return loaded
    if isinstance(loaded, list):
        return dict.fromkeys(map(str, loaded))
    raise DataError("expected a JSON list or object of keys", where=str(path), hint="fetch the file again")


def _agree(row: Row, label: Any, path: Path) -> None:
    found = row.optional(_LABEL)
    if label is not None and found and found.lower() != str(label).strip().lower():
        raise DataError(
            f"{_LABEL} is {found!r}, but {path.name} says {label!r}",
            where=row.where,
            hint="the two files do not belong together, or one was edited; fetch both again",
        )


def rows_of_split(
    rows: Iterable[Row], root: Path, entry: DatasetEntry, split: str, mapping: str
) -> Iterator[Row]:
    """Select the rows of a split if a file of keys lists them.

    Args:
        rows: All records of the file.
        root: The data folder.
        entry: The dataset.
        split: ``test`` or ``dev``.
        mapping: Name of the rows' mapping; canonical rows name their split themselves.

    Raises:
        DataError: If the keys cannot be read, a key has no row, or a row's label is not the listed one.
    """
    rule = next((part for part in entry.splits if part.split == split), None)
    if rule is None or mapping == "canonical" or not (rule.only_keys or rule.except_keys):
        yield from rows
        return
    path = root / (rule.only_keys or rule.except_keys or "")
    keys, seen = _keys(path), set()
    for row in rows:
        key = row.text("key")
        if key in keys:
            seen.add(key)
            _agree(row, keys[key], path)
        if (key in keys) == (rule.only_keys is not None):
            yield row
    missing = sorted(set(keys) - seen)
    if missing:
        raise DataError(
            f"{len(missing)} listed records are missing, the first is {missing[0]!r}",
            where=str(path),
            hint="the two files do not belong together; fetch both again",
        )
