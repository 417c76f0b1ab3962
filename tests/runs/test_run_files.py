"""Files of a run are replaced whole, and damaged ones are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from medbench.errors import RunError
from medbench.runs.directory import read_json, replacing, write_json


def test_json_round_trip_keeps_chinese(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run.json"
    write_json(path, {"任务": "心电图", "n": 3})
    assert read_json(path) == {"任务": "心电图", "n": 3}
    assert "心电图" in path.read_text(encoding="utf-8")
    assert [p.name for p in path.parent.iterdir()] == ["run.json"]


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    write_json(path, {"old": True})

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half", encoding="utf-8")
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        write_half()
    assert read_json(path) == {"old": True}
    assert [p.name for p in tmp_path.iterdir()] == ["scores.json"]


def test_an_impossible_folder_is_named(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("", encoding="utf-8")
    with pytest.raises(RunError, match=r"cannot write run\.json") as caught:
        write_json(blocker / "run.json", {})
    assert caught.value.where == str(blocker)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"", b"[" * 200_000])
def test_damaged_json_is_reported(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"cannot read run\.json"):
        read_json(path)
