"""What stands between the two passes, byte for byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medbench.errors import ScoringError
from medbench.scoring.authors.passes import between_passes, joiner, offered_letters


def test_every_golden_second_prompt_is_met(shared: Path) -> None:
    path = shared / "golden" / "protocols" / "two_pass.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    two_passes = [row for row in rows if row["second_pass"] is not None]
    assert len(two_passes) > 150
    for row in two_passes:
        between = between_passes(row["first_prompt"], row["first_pass"])
        assert between == row["second_prompt_suffix"], row
        # Of a batch the authors' first prompt picks the letters; here every prompt its own.
        if row["letters"] and "second of its batch" not in row["repository"]:
            assert offered_letters(row["first_prompt"]) == row["letters"], row


@pytest.mark.parametrize(
    ("first_pass", "expected"),
    [
        ("It is A.", " "),
        ("It is A. \n", " "),
        ("It is A", ". "),
        ("答案为B。", ". "),
        ("", ". "),
        ("   ", ". "),
        ("A.)", ". "),
        ("A...", " "),
        ("答案为B．", ". "),
        ("A?\n", ". "),
    ],
)
def test_the_joiner(first_pass: str, expected: str) -> None:
    assert joiner(first_pass) == expected


def test_the_english_phrase_counts_first() -> None:
    assert between_passes("…答案为{answer}。 The answer is {answer}.", "x") == ". \nThe answer is "
    assert between_passes("…答案为{answer}。", "x.") == " \n答案为"


def test_a_prompt_without_a_phrase_is_refused() -> None:
    with pytest.raises(ScoringError, match="answer phrase"):
        between_passes("Which vitamin?", "C")


@pytest.mark.parametrize(
    ("prompt", "letters"),
    [
        ("A. x\nD. y", "ABCD"),
        ("D. y\nE. z", "ABCDE"),
        ("(D) y (E) z", "ABCDE"),
        ("E. coli causes?\nA. x\nD. y", "ABCDE"),
        ("E coli", "ABCD"),
        ("E、选项", "ABCD"),
        ("E. x\nF. y", "ABCDE"),
        ("e. x", "ABCD"),
    ],
)
def test_the_offered_letters(prompt: str, letters: str) -> None:
    assert offered_letters(prompt) == letters
