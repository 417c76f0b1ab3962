"""MING-MOE's own verdicts are met one by one."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medbench.scoring import ming

SHARED = Path(os.environ.get("MEDBENCH_SHARED", Path(__file__).parents[3] / "shared"))
VERDICTS = SHARED / "golden" / "scores" / "mcq.jsonl"


@pytest.mark.skipif(not VERDICTS.is_file(), reason=f"needs the authors' verdicts in {SHARED}")
def test_every_verdict_is_the_authors() -> None:
    rows = [json.loads(line) for line in VERDICTS.read_text(encoding="utf-8").splitlines()]
    assert len(rows) > 100
    for row in rows:
        got = (
            ming.multiplechoice(row["text"], row["gold"], row["lang"]),
            ming.direct(row["text"], row["gold"]),
        )
        assert got == (bool(row["multiplechoice"]), bool(row["direct"])), row


@given(st.text(alphabet="答案为AB。\n", max_size=30), st.sampled_from(["A", "B", "AB"]))
def test_the_chinese_phrase_is_found_as_the_regular_expression_finds_it(text: str, gold: str) -> None:
    match = re.search(r"答案为(.*?)$", text)
    if match:
        others = set("ABCDE") - set(gold)
        hit = set(gold) <= set(match.group()) and not others & set(match.group())
        assert ming.multiplechoice(text, gold, "zh") == hit


def test_a_long_answer_takes_linear_time() -> None:
    started = time.perf_counter()
    ming.multiplechoice("答案为" * 400_000 + "\n\n", "A", "zh")
    ming.multiplechoice("The answer is " * 100_000 + "\n\n", "A", "en")
    assert time.perf_counter() - started < 1.0
