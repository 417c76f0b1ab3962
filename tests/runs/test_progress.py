"""What a person sees while a run is at work."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from medbench.runs.progress import ConsoleProgress


def test_the_bar_says_how_fast_documents_and_tokens_go(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    console = Console(file=io.StringIO(), force_terminal=True, width=160, _environ={"TERM": "xterm"})
    progress = ConsoleProgress(console)
    progress.begin(10)
    progress.stage("writing answers", 10)
    for share in (0.1, 0.2, 0.3):
        now += 2.0
        progress.advance(share, 3_000)
    progress._progress.refresh()
    text = console.file.getvalue()  # type: ignore[attr-defined] # it is a StringIO
    progress.end()
    assert "writing answers" in text
    assert "3/10" in text
    assert "1,500 tokens/s" in text


def test_the_pace_forgets_what_is_long_past(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    progress = ConsoleProgress(Console(file=io.StringIO(), force_terminal=True))
    progress.begin(4)
    progress.stage("writing answers", 4)
    for tokens in (1_000_000, 100, 100):
        now += 20.0
        progress.advance(0.5, tokens)
    assert str(progress._pace) == "5"
    progress.end()
