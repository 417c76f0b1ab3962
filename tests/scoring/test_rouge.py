"""ROUGE equals the packages that it stands for."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medbench.scoring.rouge import bleu_1, lcs_length, rouge_en, rouge_zh
from medbench.scoring.text import basic_tokens

_CHINESE = st.text(alphabet='头痛发热。，！？、ab 12\n"”…', max_size=40)


@settings(max_examples=60, deadline=None)
@given(_CHINESE, _CHINESE)
def test_chinese_equals_the_package(answer: str, reference: str) -> None:
    from rouge_chinese import Rouge

    texts = [" ".join(basic_tokens(text)) or "无 。" for text in (answer, reference)]
    expected = Rouge().get_scores([texts[0]], [texts[1]], avg=True)
    got = rouge_zh(answer, reference)
    assert got.rouge_1 == pytest.approx(expected["rouge-1"]["f"], abs=1e-12)
    assert got.rouge_2 == pytest.approx(expected["rouge-2"]["f"], abs=1e-12)
    assert got.rouge_l == pytest.approx(expected["rouge-l"]["f"], abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet="abc de.F,", max_size=60), st.text(alphabet="abc de.F,", max_size=60))
def test_english_equals_the_package(answer: str, reference: str) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    expected = RougeScorer(["rouge1", "rouge2", "rougeL"]).score(reference, answer)
    got = rouge_en(answer, reference)
    for ours, theirs in zip(got, ("rouge1", "rouge2", "rougeL"), strict=True):
        assert ours == pytest.approx(expected[theirs].fmeasure, abs=1e-12)


def test_identical_chinese_does_not_score_zero() -> None:
    assert rouge_zh("消化不良", "消化不良").rouge_l == pytest.approx(1, abs=1e-7)


def test_written_out_values() -> None:
    # 咳嗽三天 against 发热三天: two of four characters, one of three bigrams, a subsequence of two.
    assert rouge_zh("咳嗽三天", "发热三天") == pytest.approx((0.5, 1 / 3, 0.5), abs=1e-7)
    assert bleu_1("咳嗽三天", "发热三天") == pytest.approx(0.5)
    assert bleu_1("", "") == 1.0
    assert bleu_1("x", "") == 0.0


@given(st.text(alphabet="abc", max_size=25), st.text(alphabet="abc", max_size=25))
def test_lcs_by_the_textbook(first: str, second: str) -> None:
    row = [0] * (len(second) + 1)
    for a in first:
        previous = row[:]
        for j, b in enumerate(second, 1):
            row[j] = previous[j - 1] + 1 if a == b else max(previous[j], row[j - 1])
    assert lcs_length(list(first), list(second)) == row[-1]


def test_a_babbling_answer_is_scored_at_once() -> None:
    started = time.process_time()
    rouge_zh("患者发热三天" * 20_000, "患者发热三天，伴咳嗽。" * 50)
    assert time.process_time() - started < 5.0


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_tokens_are_those_of_the_bert_tokenizer(text: str) -> None:
    from transformers.models.bert.tokenization_bert_legacy import BasicTokenizer

    tokenizer: Any = BasicTokenizer
    assert basic_tokens(text) == tokenizer(tokenize_chinese_chars=True).tokenize(text)
