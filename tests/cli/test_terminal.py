"""No text from outside steers the terminal, and tables fit into it."""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path

import pytest

import medbench.cli
from medbench.cli.main import main
from medbench.cli.output import print_json, say
from medbench.cli.tables import show_table
from medbench.common.terminal import printable
from medbench.reports.tables import TextTable

EVIL = "a\x1b[2J\x9b31m\r\x07\u202eb\ud800"


def test_control_characters_are_made_visible_and_chinese_stays() -> None:
    assert printable(EVIL) == "a�[2J�31m���b�"
    assert printable("题目\u3000甲\n\t🙂 é") == "题目\u3000甲\n\t🙂 é"


def test_json_stays_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"text": EVIL})
    text = capsys.readouterr().out
    assert printable(text) == text
    assert json.loads(text) == {"text": EVIL}


def test_lines_and_errors(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    say(EVIL)
    assert main(["models", "show", "no\x1b[2Jsuch"]) == 2
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err
    assert "no\\x1b[2Jsuch" in captured.err


def test_commands_print_through_one_module() -> None:
    """`typer.echo` and `print` obey control characters."""
    folder = Path(medbench.cli.__file__).parent
    found = []
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("typer.echo", "print"):
                found.append((path.name, ast.unparse(node)))
    assert {name for name, _ in found} <= {"main.py", "output.py"}, found


def _terminal_lines(table: TextTable, capsys: pytest.CaptureFixture[str]) -> list[str]:
    show_table(table, "text", None)
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()


def test_names_give_way_in_a_narrow_terminal_and_numbers_do_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("TERM", "xterm")  # a dumb terminal always counts as 80 columns wide
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    rows = [["a_very_long_name_of_some_task_" + end, "0.25", "[0.125, 0.375]"] for end in "xy"]
    lines = _terminal_lines(TextTable(["task", "value", "95% interval"], rows, [False, True, True]), capsys)
    assert sum("0.25 │ [0.125, 0.375]" in line for line in lines) == 2
    assert max(map(len, lines)) <= 50


def test_what_all_rows_share_is_said_in_the_title(capsys: pytest.CaptureFixture[str]) -> None:
    headers, numeric = ["model", "run", "task", "value"], [False] * 3 + [True]
    rows = [["m", "r1", "x", "1"], ["m", "r1", "y", "2"]]
    lines = _terminal_lines(TextTable(headers, rows, numeric, title="Load"), capsys)
    assert lines[0].strip() == "Load (m, r1)"
    assert lines[1].split() == ["task", "┃", "value"]
    rows[1][1] = "r2"
    lines = _terminal_lines(TextTable(headers, rows, numeric, title="Load"), capsys)
    assert lines[0].strip() == "Load (m)"
    assert "r2" in lines[-1]
    # A single row stays as it is.
    assert "model" in _terminal_lines(TextTable(headers, rows[:1], numeric, title="Load"), capsys)[1]
