"""The forms in which an option is given as the answer; ``{L}`` is its letter, ``{T}`` its text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from medbench.scoring.exams import read_answer

__all__ = ["FORMS", "misread", "naming"]

FORMS: dict[str, tuple[str, ...]] = {
    "en": (
        "{L}",
        "({L})",
        "{L}. {T}",
        "Answer: {L}",
        "The answer is {L}",
        "The answer is {L}.",
        "The answer is {L}. {T}",
        "The answer is '{L}'.",
        "The answer is {T}.",
        "The correct option is ({L}) {T}.",
        "**Answer:** {L}) {T}",
        "Therefore, the answer is {L}.",
        "Option {L} is correct.",
        "\\boxed{{L}}",
        '{"answer": "{L}"}',
    ),
    "zh": (
        "{L}",
        "{L}、{T}",
        "{L}. {T}",
        "答案：{L}",
        "答案为{L}",
        "答案是{L}。",
        "答案为「{L}」",
        "答案为{T}。",
        "正确答案是{L}。{T}",
        "【答案】{L}",
        "故选{L}。",
        "本题选{L}项。",
        "选项{L}正确。",
        "\\boxed{{L}}",
        '{"答案": "{L}"}',
    ),
}


def naming(form: str, letter: str, text: str) -> str:
    """Write an answer in a form."""
    return form.replace("{L}", letter).replace("{T}", text)


def misread(doc: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Give every option of a document as the answer; yield form, letter and reading where they differ."""
    for form in FORMS[doc["language"]]:
        for letter, text in zip(doc["letters"], doc["options"], strict=True):
            reading = read_answer(doc, naming(form, letter, text))
            if reading != letter:
                yield form, letter, reading
