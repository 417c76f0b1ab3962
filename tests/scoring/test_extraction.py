"""Answers are read as a careful person reads them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medbench.scoring.extraction import read
from tests.scoring.outputs import ASKED, OPTION_SETS, OUTPUTS

_CASES = [(name, text, reading) for name, rows in OUTPUTS.items() for text, reading in rows]


def test_the_table_is_large_and_in_two_languages() -> None:
    chinese = sum(any("一" <= char <= "鿿" for char in text) for _, text, _ in _CASES)
    assert len(_CASES) >= 80
    assert min(chinese, len(_CASES) - chinese) >= 40


@pytest.mark.parametrize(("options", "text", "reading"), _CASES)
def test_reading(options: str, text: str, reading: str) -> None:
    chosen = OPTION_SETS[options]
    assert read(text, list(chosen.letters), chosen.options) == reading


@pytest.mark.parametrize(("question", "text", "reading"), ASKED)
def test_reading_in_the_light_of_the_question(question: str, text: str, reading: str) -> None:
    chosen = OPTION_SETS["zh5"]
    assert read(text, list(chosen.letters), chosen.options, question) == reading


def test_letters_that_are_no_option_are_no_answer() -> None:
    assert read("答案为E", ["A", "B", "C", "D"], ["甲类", "乙类", "丙类", "丁类"]) == ""


def test_options_with_the_same_words_cannot_be_told_apart() -> None:
    assert read("青霉素", ["A", "B"], ["青霉素", "青霉素"]) == ""


_PIECES = st.lists(
    st.sampled_from(
        [
            "答案为",
            "The answer is ",
            "A",
            "B",
            "、",
            "，",
            " and ",
            "not ",
            "不选",
            "错误",
            "正确",
            "\n",
            "。",
            ". ",
            "(",
            ")",
            "选",
            "故",
            "阿莫西林",
            "\\boxed{",
            "}",
            "**",
            "如果",
            "等等，",
            "？",
            "<think>",
            "</think>",
            "Ａ",
            "is correct",
        ]
    ),
    max_size=14,
)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=80), _PIECES.map("".join)))
def test_any_text_gives_sorted_known_letters(text: str) -> None:
    chosen = OPTION_SETS["zh5"]
    answer = read(text, list(chosen.letters), chosen.options)
    assert list(answer) == sorted(set(answer) & set(chosen.letters))
    # What was read is itself read as that.
    assert read(answer, list(chosen.letters), chosen.options) == answer


@given(st.sets(st.sampled_from("ABCDE"), min_size=1), st.randoms(use_true_random=False))
def test_the_order_of_letters_does_not_matter(letters: set[str], random: object) -> None:
    shuffled = sorted(letters)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    chosen = OPTION_SETS["zh5"]
    for text in (
        f"答案为{'、'.join(shuffled)}。",
        f"故选{''.join(shuffled)}。",
        f"The answer is {', '.join(shuffled)}.",
    ):
        assert read(text, list(chosen.letters), chosen.options) == "".join(sorted(letters))


@pytest.mark.parametrize(
    "unit",
    [
        "A、",
        "答案",
        "答案为",
        "选A",
        "A. ",
        "(",
        "\\boxed{",
        "A错",
        "the answer is ",
        "阿莫西林",
        "A, B is wrong ",
        "\nA",
        " ",
    ],
)
def test_a_megabyte_is_read_at_once(unit: str) -> None:
    chosen = OPTION_SETS["zh5"]
    text = unit * (1_000_000 // len(unit))
    started = time.process_time()
    read(text, list(chosen.letters), chosen.options)
    assert time.process_time() - started < 2.0


def test_the_end_of_a_long_answer_counts() -> None:
    chosen = OPTION_SETS["zh5"]
    assert read("分析" * 100_000 + "答案为C。", list(chosen.letters), chosen.options) == "C"
