"""A lock file is read strictly: what nobody wrote is damage, and says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medbench.data.locking import LockEntry, read_lock, write_lock
from medbench.errors import DataError

ENTRY = {"kind": "folder", "revision": None, "fingerprint": "f", "documents": {"test": 3, "dev": 0}}


def read(path: Path, entry: Any, **top: Any) -> Any:
    path.write_text(json.dumps({"format": 1, "datasets": {"medqa_us": entry}, **top}), encoding="utf-8")
    return read_lock(path)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "lock.json"
    written = LockEntry("medqa_us", "hub", "a" * 40, "f", {"test": 3, "dev": 0})
    write_lock(path, [written])
    assert read_lock(path) == {"medqa_us": written}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({**ENTRY, "fingerprints": "f"}, "unknown key 'fingerprints'"),
        (
            {**ENTRY, "kind": "disk"},
            "'kind' under 'medqa_us' is 'disk', expected one of folder, hub, samples",
        ),
        ({**ENTRY, "kind": None}, "'kind' under 'medqa_us' is missing"),
        (
            {key: value for key, value in ENTRY.items() if key != "documents"},
            "'documents' under 'medqa_us' is missing",
        ),
        ({**ENTRY, "fingerprint": 5}, "'fingerprint' under 'medqa_us' is 5, expected text"),
        ({**ENTRY, "revision": 5}, "'revision' under 'medqa_us' is 5, expected text"),
        ({**ENTRY, "documents": [3]}, "'documents' under 'medqa_us' is .* expected keys with values"),
        (
            {**ENTRY, "documents": {"test": "3"}},
            "'test' under 'documents' is '3', expected a number of documents",
        ),
        ({**ENTRY, "documents": {"test": -3}}, "'test' under 'documents' is -3"),
        ({**ENTRY, "documents": {"test": 2.5}}, "'test' under 'documents' is 2.5"),
        ({**ENTRY, "documents": {"test": True}}, "'test' under 'documents' is True"),
        ("medqa", "expected keys with values"),
        (None, "expected keys with values"),
    ],
)
def test_damage_is_named(entry: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path / "lock.json", entry)
    assert "is damaged" in caught.value.what
    assert "lock.json, datasets.medqa_us" in str(caught.value.where)
    assert "medbench data lock" in str(caught.value.hint)


@pytest.mark.parametrize("top", [{"dataset": {}}, {"datasets": []}, {"format": 2}])
def test_the_file_itself_is_strict(top: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"unknown key 'dataset'|expected keys with values|known format"):
        read(tmp_path / "lock.json", ENTRY, **top)
