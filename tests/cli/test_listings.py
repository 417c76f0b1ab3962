"""What can be evaluated, and on what, as tables in every form."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from medbench.cli.main import main

LISTS = {"models": "model", "data": "dataset", "tasks": "name"}


def _printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


def _names(noun: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    listed = json.loads(_printed([noun, "list", "--json"], capsys))
    return [row[LISTS[noun]] for row in (listed["tasks"] if noun == "tasks" else listed)]


@pytest.mark.parametrize("noun", LISTS)
@pytest.mark.parametrize("form", ["text", "markdown", "csv", "latex", "html"])
def test_every_name_stands_in_every_form(noun: str, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    names = _names(noun, capsys)
    assert len(names) > 3
    text = _printed([noun, "list", "--format", form], capsys)
    written = text.replace("\\_", "_")
    assert [name for name in names if name not in written] == []
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(text)))
        assert [row[LISTS[noun]] for row in rows] == names


@pytest.mark.parametrize("noun", LISTS)
def test_lists_are_written_to_files(noun: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "list.md"
    assert main([noun, "list", "--output", str(target)]) == 0
    assert str(target) in capsys.readouterr().out
    assert _names(noun, capsys)[0].replace("_", "\\_") in target.read_text(encoding="utf-8")


@pytest.mark.parametrize("arguments", [["models", "show", "demo"], ["tasks", "show", "cmexam_single"]])
def test_one_definition_is_read_as_data(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.reader(io.StringIO(_printed([*arguments, "--format", "csv"], capsys))))
    assert rows[0][1] == "value"
    facts = dict(rows[1:])
    assert arguments[-1] in facts.values()
    assert len(facts) > 10
