"""The authors' answer rules, verdict for verdict."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medbench.errors import ScoringError
from medbench.scoring.authors import RULES, rule, rules, verdict

TEXTS = st.lists(
    st.sampled_from(
        [
            "答案为",
            "The answer is ",
            "the answer is ",
            "THE anſwer ıs ",
            "错，为本题正确答案",
            "对",
            "A",
            "B",
            "C.",
            "E",
            "F",
            ".",
            "。",
            " ",
            "\n",
            "\n\n\n",
            "\r",
            "\u2028",
            "x",
        ]
    ),
    max_size=12,
).map("".join)
GOLDS = st.sampled_from(["A", "B", "AB", "ACE", "F", "AF"])


@pytest.mark.parametrize("repository", RULES)
def test_every_golden_verdict_is_met(shared: Path, repository: str) -> None:
    path = shared / "golden" / "protocols" / f"{repository}_rules.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(rows) > 200
    for row in rows:
        got = verdict(repository, row["dataset"], row["lang"], row["text"], row["gold"])
        assert got == bool(row["verdict"]), row


def test_the_earlier_golden_verdicts_of_may_are_met(shared: Path) -> None:
    path = shared / "golden" / "scores" / "mcq.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(rows) > 100
    free = {"zh": rules.chinese, "en": rules.english_dot}
    for row in rows:
        got = (free[row["lang"]](row["text"], row["gold"]), rules.direct(row["text"], row["gold"]))
        assert got == (bool(row["multiplechoice"]), bool(row["direct"])), row


DIRECT = [
    ("B", "B", True),
    ("Answer: B", "B", False),  # the A of the word is the first letter
    ("answer: B", "B", True),
    ("选B", "B", True),
    ("F", "F", False),
    ("b", "B", False),
    ("", "A", False),
    ("AB", "AB", False),
    (" C\n", "C", True),
    ("G then D", "D", True),
    ("CT示A", "A", False),
]
CHINESE = [
    ("答案为B。", "B", True),
    ("答案为B。因为ATP不足", "B", False),
    ("答案为B和F", "B", True),
    ("答案为F", "F", True),
    ("分析……\n答案为ACE", "ACE", True),
    ("答案为A、C", "ACE", False),
    ("答案为B。\n解析：略", "B", False),
    ("答案为B\n", "B", True),
    ("答案为B\n\n", "B", False),
    ("答案为C，答案为B", "B", False),
    ("B错，为本题正确答案", "B", True),
    ("B错,为本题正确答案", "B", False),
    ("A不对，B对", "B", True),
    ("B对比增强", "B", True),
    ("A对，B对", "B", False),
    ("A、C对", "AC", False),
    ("A对，C对", "AC", True),
    ("答案为\rB", "B", True),
]
CHINESE_CUT = [
    ("答案为B。\n\n\n答案为C", "B", True),
    ("答案为B。\n\n\n答案为C", "C", False),
    ("推理\n\n\n答案为C", "C", False),
    ("推理，C对\n\n\n答案为C", "C", True),  # without the phrase the whole text counts
    ("一\n\n\n二，答案为D\n\n\n三", "D", True),
    ("答案为B。\n\n\n\n", "B", True),
    ("答案为B。. \n答案为B", "B", True),
    ("答案为A。. \n答案为B", "B", True),
    ("答案为AB", "AB", True),
    ("答案为ABC", "AB", False),
]
CHINESE_APRIL = [
    ("答案为B。因为ATP不足", "B", True),
    ("答案为A.B.", "B", True),
    ("答案为A.B.C.", "AB", False),
    ("答案为ABC", "AB", True),  # another letter counts with its full stop only
    ("答案为A", "B", False),
    ("A对，B对", "B", True),
    ("A对，B对，C对", "AB", False),
    ("A对，B对", "AB", True),
    ("A错，为本题正确答案", "A", True),
    ("没有结论", "A", False),
]
ENGLISH_DOT = [
    ("The answer is B.", "B", True),
    ("The answer is B", "B", False),
    ("the answer is B.", "B", False),
    ("The answer is A. B.", "A", True),
    ("The answer is A. B.", "B", True),
    ("The answer is A.B.", "AB", True),
    ("The answer is A.B.C", "AB", True),
    ("The answer is A.B.C.", "AB", False),
    ("The answer is B.\nIt acts fast.", "B", False),
    ("The answer is B.\n", "B", True),
    ("B.", "B", False),
]
ENGLISH_BARE = [
    ("The answer is B", "B", True),
    ("The answer is Acetaminophen", "A", True),
    ("The answer is A. B.", "B", True),
    ("The answer is A and C", "AC", True),
    ("The answer is A, B and C", "AC", False),
    ("So C.\nThe answer is D", "D", True),
    ("The answer is D\nThe answer is C", "D", False),
    ("Answer: D", "D", False),
    ("The answer is", "A", False),
    ("The answer is F", "F", True),
]
MMEDBENCH_ENGLISH = [
    ("So the answer is D.", "D", True),
    ("THE ANSWER IS D.", "D", True),
    ("The answer is D. Heparin\nIt acts at once.", "D", True),
    ("the answer is C", "C", False),
    ("The answer is vitamin C.", "C", True),
    ("The answer is A or C.", "C", True),
    ("The answer is AC.", "AC", True),
    ("The answer is A. The answer is C.", "C", False),
    ("the answer is clear\nthe answer is C.", "C", True),
    ("The answer is c.", "C", False),
    ("the answer is B\nthe answer is C", "C", False),
    ("no phrase C.", "C", False),
]
MMEDBENCH_CHINESE = [
    ("答案为D", "D", True),
    ("答案为A或D", "D", True),
    ("答案为ACE", "AC", True),
    ("答案为A、C", "AC", False),
    ("D对", "D", False),
    ("答案为D\n说明", "D", False),
    ("答案为D\n", "D", True),
    ("", "D", False),
    ("答案为", "D", False),
    ("D。答案为", "D", False),
]
CASES = {
    rules.direct: DIRECT,
    rules.chinese: CHINESE,
    rules.chinese_cut: CHINESE_CUT,
    rules.chinese_april: CHINESE_APRIL,
    rules.english_dot: ENGLISH_DOT,
    rules.english_bare: ENGLISH_BARE,
    rules.mmedbench_english: MMEDBENCH_ENGLISH,
    rules.mmedbench_chinese: MMEDBENCH_CHINESE,
}


@pytest.mark.parametrize(
    ("judge", "text", "gold", "right"),
    [(judge, *case) for judge, cases in CASES.items() for case in cases],
)
def test_the_verdict_of_a_rule(judge: rules.Rule, text: str, gold: str, right: bool) -> None:
    assert judge(text, gold) is right


@given(TEXTS, GOLDS)
def test_the_chinese_phrase_is_found_as_the_regular_expression_finds_it(text: str, gold: str) -> None:
    match = re.search(r"答案为(.*?)$", text)
    assert rules.mmedbench_chinese(text, gold) == (match is not None and gold in match.group())
    if match:
        others = set("ABCDE") - set(gold)
        hit = set(gold) <= set(match.group()) and not others & set(match.group())
        assert rules.chinese(text, gold) == hit


@given(TEXTS, GOLDS)
def test_the_english_phrases_are_found_as_the_regular_expressions_find_them(text: str, gold: str) -> None:
    last = re.search(r"The answer is (.*?)$", text)
    if len(gold) == 1:
        assert rules.english_bare(text, gold) == (last is not None and gold in last.group())
        assert rules.english_dot(text, gold) == (last is not None and f"{gold}." in last.group())
    first = re.search(r"the answer is (.*?)(\.|$)", text, re.IGNORECASE)
    assert rules.mmedbench_english(text, gold) == (first is not None and f"{gold}." in first.group())


@given(TEXTS, GOLDS)
def test_the_cut_changes_nothing_where_there_is_nothing_to_cut(text: str, gold: str) -> None:
    whole = re.sub("\n{3,}", "\n", text)
    assert rules.chinese_cut(whole, gold) == rules.chinese(whole, gold)


@pytest.mark.parametrize("judge", CASES)
def test_a_long_answer_is_judged_at_once(judge: rules.Rule) -> None:
    # Quadratic time would run into the time limit of the suite: these are megabytes of open phrases.
    for phrase in ("答案为", "The answer is ", "the answer is\tC ", "A对"):
        judge(phrase * 300_000 + "\n\nx", "A")


def test_each_repository_has_its_own_table() -> None:
    assert rule("ming", "MedQA_cot") is rules.english_dot
    assert rule("ming_dev", "MedQA_cot") is rules.english_bare
    assert rule("ming_april", "cmmlu_cot") is rules.chinese_april
    assert rule("medcare", "mmedbench_zh") is rules.chinese_cut
    assert rule("ming", "mmedbench_zh_cot") is rules.mmedbench_chinese
    assert rule("ming", "PLE_TCM") is rules.direct


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("ming", "MedQA", "en", "A", "A"), "MedQA_cot"),
        (("medcare", "MedQA_cot", "en", "A", "A"), "MedQA"),
        (("medcares", "MedQA", "en", "A", "A"), "medcare"),
        (("ming", "medqa_mainland_cot", "zh", "A", "A"), "scores no dataset"),
        (("medcare", "CMB", "en", "A", "A"), "CMB is zh"),
        (("medcare", "CMB", "zh", "A", ""), "no gold letter"),
    ],
)
def test_what_the_scripts_do_not_know_is_refused(arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(ScoringError, match=says):
        verdict(*arguments)
