"""Planting faults in sound tasks, and looking for them in a report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from medbench.checks import CheckReport, Finding

EXAM, NER = "my_exam", "my_ner"


def edit(path: Path, old: str, new: str) -> int:
    """Replace text that occurs once, and return the line where the new text begins."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {path.name}"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return text[: text.index(old)].count("\n") + 1


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_rows(path: Path, documents: list[dict[str, object]]) -> None:
    lines = [json.dumps(document, ensure_ascii=False) for document in documents]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


class Fault(NamedTuple):
    """A fault to plant.

    Attributes:
        name: What it is.
        code: Under which code it must be found.
        message: A part of the message that it must have.
        plant: Plants it, and returns the line where it must be found; None for any.
        file: End of the name of the file where it must be found.
    """

    name: str
    code: str
    message: str
    plant: Callable[[Path], int | None]
    file: str


def planted(task: str, old: str, new: str, shift: int = 0) -> Callable[[Path], int | None]:
    return lambda tasks: edit(tasks / task / f"{task}.yaml", old, new) + shift


def without(task: str, old: str, line: int | None = 1) -> Callable[[Path], int | None]:
    """Take something out; it is missed where the task begins."""

    def plant(tasks: Path) -> int | None:
        edit(tasks / task / f"{task}.yaml", old, "")
        return line

    return plant


def in_register(old: str, new: str) -> Callable[[Path], int | None]:
    def plant(tasks: Path) -> None:
        edit(tasks / EXAM / "sources.yaml", old, new)

    return plant


def in_document(number: int, **changes: object) -> Callable[[Path], int | None]:
    def plant(tasks: Path) -> int:
        path = tasks / EXAM / "samples" / f"{EXAM}.jsonl"
        documents = rows(path)
        documents[number].update(changes)
        write_rows(path, documents)
        return number + 1

    return plant


def found(report: CheckReport, fault: Fault, line: int | None) -> list[Finding]:
    return [
        finding
        for finding in report.findings
        if finding.code == fault.code
        and fault.message in finding.message
        and finding.file.name.endswith(fault.file)
        and (line is None or finding.line == line)
    ]
