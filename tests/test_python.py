"""The oldest Python that is promised is the one that types and style are checked against."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

_ROOT = Path(__file__).parents[1]


def test_the_promise_is_what_the_tools_check() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    promised = project["project"]["requires-python"].removeprefix(">=")
    assert project["tool"]["mypy"]["python_version"] == promised
    assert project["tool"]["ruff"]["target-version"] == f"py{promised.replace('.', '')}"
    readme = (_ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"Python (3\.\d+) or newer", readme) == [promised]
