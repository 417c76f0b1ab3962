from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from medbench.errors import RunError
from medbench.runs.logs import collect_warnings


def test_each_warning_is_kept_once_and_everything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "run.jsonl"
    logger = logging.getLogger("medbench.data")
    with collect_warnings(path) as warnings:
        logger.info("读取 %s", "cmexam")
        logger.warning("first")
        logger.warning("second")
        logger.warning("first")
    logger.warning("after the end")
    assert list(warnings) == ["first", "second"]
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [entry["message"] for entry in entries] == ["读取 cmexam", "first", "second", "first"]
    assert {entry["level"] for entry in entries} == {"info", "warning"}


def test_an_unwritable_log_file_is_reported(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("", encoding="utf-8")
    with pytest.raises(RunError, match="cannot write the log file"), collect_warnings(blocker / "log"):
        pass
