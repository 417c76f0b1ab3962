from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from medbench.errors import RunError
from medbench.runs.logs import RunWarnings, collect_warnings


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


CUT = "%s: %d prompts were longer than %d tokens and lost their beginning"


def attempt(
    *logged: tuple[str, str, tuple[object, ...]], earlier: RunWarnings | None = None, by_workers: bool = False
) -> RunWarnings:
    """One attempt of a run, after another, with what it logs: the logger, the message and its arguments."""
    # Through JSON, as run.json keeps it.
    lasting = json.loads(json.dumps(earlier.lasting)) if earlier else {}
    with collect_warnings(warnings=RunWarnings(lasting, by_workers=by_workers)) as warnings:
        for name, message, arguments in logged:
            logging.getLogger(name).warning(message, *arguments)
    return warnings


def cut(count: int, task: str = "cmb") -> tuple[str, str, tuple[object, ...]]:
    return "medbench.models.harness.adapter", CUT, (task, count, 512)


def said(count: int, task: str = "cmb") -> str:
    return f"{task}: {count} prompts were longer than 512 tokens and lost their beginning"


def test_what_an_attempt_says_is_gone_with_it_unless_it_is_about_answers() -> None:
    others = [
        ("medbench.runs.execution", "%s failed", ("cmb",)),
        ("medbench.models.architecture.impl_choice", "impl fused cannot be compiled here: %s", ("x",)),
        ("medbench.data", "%s: %d rows set aside", ("cmb", 3)),
        ("medbench.runs.askable", "%s: %d examples with several right answers left out", ("cmb", 2)),
    ]
    first = attempt(cut(7), *others)
    assert list(first) == [said(7), *(message % arguments for _, message, arguments in others)]
    assert list(attempt(earlier=first)) == [said(7)]
    assert list(attempt(others[2], earlier=attempt(earlier=first))) == [said(7), "cmb: 3 rows set aside"]


def test_a_note_may_last() -> None:
    with collect_warnings() as first:
        logging.getLogger("medbench.runs").warning("asked again", extra={"lasting": True})
        logging.getLogger("medbench.runs").warning("of the moment")
    assert list(attempt(earlier=attempt(earlier=first))) == ["asked again"]


@pytest.mark.parametrize(
    ("attempts", "total"),
    [
        # In this process, the first attempt counts all that are to be asked and later ones what is left.
        ([(False, [7]), (False, [])], 7),
        ([(False, [7]), (False, [3])], 7),
        ([(False, [4, 3]), (False, [3])], 7),
        # Workers count what they answered.
        ([(True, [4]), (True, [3])], 7),
        ([(True, [4]), (True, [2]), (True, [1])], 7),
        ([(True, [4]), (False, [3])], 7),
        ([(True, [4]), (False, [3]), (False, [2])], 7),
        ([(False, [7]), (True, [3]), (True, [1])], 7),
        ([(False, []), (True, [4]), (True, [3])], 7),
    ],
)
def test_counts_of_requests_are_right_whoever_answered_them(
    attempts: list[tuple[bool, list[int]]], total: int
) -> None:
    warnings: RunWarnings | None = None
    for by_workers, counts in attempts:
        warnings = attempt(*map(cut, counts), earlier=warnings, by_workers=by_workers)
    assert warnings is not None
    assert list(warnings) == [said(total)]


def test_counts_of_tasks_and_kinds_are_kept_apart() -> None:
    short = (
        "medbench.models.harness.generating",
        "%s: %d answers have less room than the task allows them",
        ("cmb", 2),
    )
    first = attempt(cut(7), cut(5, "cmexam"), short)
    assert set(attempt(cut(1, "cmexam"), earlier=first)) == {
        said(7),
        said(5, "cmexam"),
        "cmb: 2 answers have less room than the task allows them",
    }
