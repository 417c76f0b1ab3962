"""No text from outside steers the terminal."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

import medbench.cli
from medbench.cli.main import main
from medbench.cli.output import print_json, say
from medbench.errors import printable

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
