from __future__ import annotations

from pathlib import Path

import pytest

from medbench.runs.privacy import name_only, scrub, scrub_values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("token hf_abcdefghijklmnopqrst in use", "token *** in use"),
        ("https://alice:pass@hub.example/x", "https://***@hub.example/x"),
        ("https://hub.example/x?token=abc&y=1", "https://hub.example/x?token=***&y=1"),
        ("a@b.example asked", "a@b.example asked"),
        ("it is s3cret-value!", "it is ***!"),
        ("/home/alice/models/x", "~/models/x"),
        ("/home/alice2/models", "/home/alice2/models"),
    ],
)
def test_what_is_struck_out(text: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "s3cret-value")
    monkeypatch.setenv("HOME", "/home/alice")
    assert scrub(text) == expected


def test_every_level_is_scrubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_PASSWORD", "correct horse")
    value = {"a": ["correct horse", 1, None], "correct horse": {"b": (Path("correct horse"), 0.5)}}
    assert scrub_values(value) == {"a": ["***", 1, None], "***": {"b": ["***", 0.5]}}


def test_only_folders_of_this_machine_lose_their_place() -> None:
    assert name_only("/data/alice/checkpoint") == "…/checkpoint"
    assert name_only("Qwen/Qwen1.5-1.8B-Chat") == "Qwen/Qwen1.5-1.8B-Chat"
    assert name_only(None) is None
