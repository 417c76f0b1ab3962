"""What a mapping would have to guess at is refused with file and row: nulls, truth values, contradictions."""

from __future__ import annotations

from typing import Any

import pytest

from medbench.data.documents import Document, announced_gold
from medbench.data.readers import MAPPINGS, MappingContext, Unanswerable
from medbench.data.rows import Row
from medbench.errors import DataError

CONTEXT = MappingContext("test", "en", "", "")
NAN = float("nan")
ABCD = {"A": "a", "B": "b", "C": "c", "D": "d"}
CANONICAL = {"id": "1", "question": "Q", "options": ["a", "b", "c", "d"], "answer": "C"}
MEDQA = {"question": "Q", "options": ABCD, "answer_idx": "C"}
MEDMCQA = {"id": "x", "question": "Q", "opa": "a", "opb": "b", "opc": "c", "opd": "d", "cop": 3}
CMMLU = {"Question": "Q", **ABCD, "Answer": "C"}
SWAG = {"id": "1", "sent1": "Q", "sent2": ""}
PROMPT = {"input": "I", "target": "T", "answer_choices": [], "task_type": "c", "task_dataset": "X"}
CMEXAM = {"Question": "Q", "Options": "A a\nB b\nC c", "Answer": "C"}


def understand(mapping: str, values: dict[str, Any]) -> Document:
    document = MAPPINGS[mapping](Row("file, line 7", 3, values), CONTEXT)
    assert isinstance(document, dict)
    return document


def refused(mapping: str, values: dict[str, Any]) -> str:
    with pytest.raises(DataError) as caught:
        MAPPINGS[mapping](Row("file, line 7", 3, values), CONTEXT)
    assert caught.value.where == "file, line 7"
    return caught.value.what


NO_TEXTS = [
    ("canonical", {**CANONICAL, "options": ["a", "b", None, "d"]}, "option C is empty"),
    ("canonical", {**CANONICAL, "options": ["a", "b", NAN, "d"]}, "option C is empty"),
    ("canonical", {**CANONICAL, "options": ["a", "b", "c", "d", None]}, "option E is empty"),
    ("canonical", {**CANONICAL, "options": [None, "b", "c", "d"]}, "option A is empty"),
    ("canonical", {**CANONICAL, "options": ["a", "b", True, "d"]}, "is True (bool)"),
    ("canonical", {**CANONICAL, "options": ["a", "b", {"key": "C"}, "d"]}, "(dict)"),
    ("canonical", {**CANONICAL, "options": ["a", "b", ["c"], "d"]}, "(list)"),
    ("canonical", {**CANONICAL, "options": ["a", "b", float("inf"), "d"]}, "is inf (float)"),
    ("canonical", {**CANONICAL, "question": NAN}, "the question is empty"),
    ("canonical", {**CANONICAL, "question": None}, "the question is empty"),
    ("canonical", {**CANONICAL, "question": {"text": "Q"}}, "(dict)"),
    ("canonical", {**CANONICAL, "answer": ["C"]}, "(list)"),
    ("canonical", {**CANONICAL, "answer": True}, "(bool)"),
    ("choices", {"question": "Q", "subject": "", "choices": ["a", None], "answer": 0}, "option B is empty"),
    ("choices", {"question": "Q", "subject": "", "choices": ["a", NAN], "answer": 0}, "option B is empty"),
    ("options_by_letter", {**MEDQA, "options": {**ABCD, "B": None}}, "lettered 'ACD'"),
    ("options_by_letter", {**MEDQA, "options": {**ABCD, "B": NAN}}, "lettered 'ACD'"),
    ("options_by_letter", {**MEDQA, "options": {**ABCD, "B": False}}, "option B is False"),
    ("options_by_letter", {**MEDQA, "options": ["a", "b"]}, "the options are list"),
    ("medmcqa", {**MEDMCQA, "opc": None}, "option C is empty"),
    ("medmcqa", {**MEDMCQA, "opc": NAN}, "option C is empty"),
    ("cmmlu", {**CMMLU, "D": None}, "option D is empty"),
    ("cmexam", {**CMEXAM, "Options": "A a\nB b\nC"}, "option C is empty"),
    ("cmexam", {**CMEXAM, "Options": "A a\nB\nC c"}, "option B is empty"),
]


@pytest.mark.parametrize(("mapping", "values", "message"), NO_TEXTS)
def test_what_is_no_text_never_becomes_a_word(mapping: str, values: dict[str, Any], message: str) -> None:
    assert message in refused(mapping, values)


def test_unused_trailing_options_are_left_out() -> None:
    for unused in (None, "", NAN):
        assert understand("options_by_letter", {**MEDQA, "options": {**ABCD, "E": unused}})[
            "letters"
        ] == list("ABCD")
        assert len(understand("cmmlu", {**CMMLU, "E": unused})["options"]) == 4


def test_words_that_stand_for_nothing_are_options_but_no_explanations() -> None:
    document = understand(
        "canonical", {**CANONICAL, "options": ["None", "b", "nan", "d"], "rationale": "nan"}
    )
    assert document["options"][::2] == ["None", "nan"]
    assert document["rationale"] == ""
    assert understand("cmexam", {**CMEXAM, "Explanation": NAN})["rationale"] == ""


@pytest.mark.parametrize(
    ("mapping", "values"),
    [
        ("cmmlu", {**CMMLU, "E": "e"}),
        ("ceval", {"question": "Q", **ABCD, "E": "e", "answer": "E"}),
        ("medmcqa", {**MEDMCQA, "ope": "e"}),
        ("medqa_hub", {**SWAG, **{f"ending{i}": text for i, text in enumerate("abcde")}, "label": 4}),
    ],
)
def test_a_fifth_option_in_a_column_of_its_own_is_read(mapping: str, values: dict[str, Any]) -> None:
    assert understand(mapping, values)["options"] == list("abcde")


NUMBERS = [2.9, True, False, "2.9", "2.0", "two", "", None, NAN, [2], {"n": 2}, "２", "0x2", "2e0"]


@pytest.mark.parametrize("number", NUMBERS)
def test_numbered_answers_are_never_rounded(number: object) -> None:
    choices = {"question": "Q", "subject": "", "choices": ["a", "b", "c", "d"], "answer": number}
    assert "is not a number" in refused("choices", choices)
    if number in ("", None) or number != number:
        assert isinstance(MAPPINGS["medmcqa"](Row("f", 1, {**MEDMCQA, "cop": number}), CONTEXT), Unanswerable)
    else:
        refused("medmcqa", {**MEDMCQA, "cop": number})


@pytest.mark.parametrize("number", [2, 2.0, "2", " 2 "])
def test_whole_numbers_are_answers_however_they_are_stored(number: object) -> None:
    choices = {"question": "Q", "subject": "", "choices": ["a", "b", "c", "d"], "answer": number}
    assert understand("choices", choices)["answer"] == "C"
    assert understand("medmcqa", {**MEDMCQA, "cop": number})["answer"] == "B"


CONTRADICTIONS = [
    ("options_by_letter", {**MEDQA, "answer": "b"}, "'answer' says 'b'"),
    ("options_by_letter", {**MEDQA, "answer": "x"}, "'answer' says 'x'"),
    ("options_by_letter", {**MEDQA, "answer": "B"}, "'answer' says 'B'"),
    ("options_by_letter", {**MEDQA, "answer": "a and c"}, "'answer' says"),
    ("options_by_letter", {**MEDQA, "answer_idx": "BC", "answer": "c"}, "'answer' says 'c'"),
    ("options_by_letter", {**MEDQA, "rationale": "Answer: A. Because …"}, "explanation begins"),
    ("options_by_letter", {**MEDQA, "rationale": "答案为B。"}, "explanation begins"),
    ("medmcqa", {**MEDMCQA, "exp": "Ans. is 'd' i.e., d"}, "explanation begins"),
    ("medmcqa_hub", {**MEDMCQA, "exp": "Ans. is 'c' i.e., c"}, "explanation begins"),
    ("medmcqa", {**MEDMCQA, "exp": "Ans. (a) a"}, "explanation begins"),
    ("medmcqa", {**MEDMCQA, "exp": "Answer: B"}, "explanation begins"),
    ("canonical", {**CANONICAL, "rationale": "The correct answer is B."}, "explanation begins"),
    ("canonical", {**CANONICAL, "rationale": "正确答案：AC"}, "explanation begins"),
    ("canonical", {**CANONICAL, "letters": ["A", "B", "D", "C"]}, "the letters are"),
    ("canonical", {**CANONICAL, "answer": "CC"}, "names a letter twice"),
    ("cmexam", {**CMEXAM, "Answer": "A,B,A"}, "names a letter twice"),
]


@pytest.mark.parametrize(("mapping", "values", "message"), CONTRADICTIONS)
def test_fields_that_repeat_the_answer_must_agree(mapping: str, values: dict[str, Any], message: str) -> None:
    assert message in refused(mapping, values)


@pytest.mark.parametrize(
    ("mapping", "values"),
    [
        ("options_by_letter", {**MEDQA, "answer": "c"}),
        ("options_by_letter", {**MEDQA, "answer": " Ｃ "}),
        ("options_by_letter", {**MEDQA, "answer": "C"}),
        ("options_by_letter", {**MEDQA, "answer": None}),
        ("options_by_letter", {**MEDQA, "options": {**ABCD, "B": "c"}, "answer": "c"}),
        ("options_by_letter", {**MEDQA, "rationale": "答案选C。"}),
        ("medmcqa", {**MEDMCQA, "exp": "Ans. is 'c' i.e., c"}),
        ("medmcqa", {**MEDMCQA, "exp": "Ans. A patient with b"}),
        ("canonical", {**CANONICAL, "rationale": "答案A不是所问的。"}),
        ("canonical", {**CANONICAL, "answer": "CA", "rationale": "答案：AC"}),
    ],
)
def test_fields_that_agree_or_say_nothing_are_accepted(mapping: str, values: dict[str, Any]) -> None:
    assert "C" in understand(mapping, values)["answer"]


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("Ans. is 'c' i.e., Ascorbic acid", "C"),
        ("Ans. a. 10 seconds", "A"),
        ("Ans: D", "D"),
        ("Answer- B (Third nerve)", "B"),
        ("Correct answer is (d)", "D"),
        ("Ans.B i.e. Organophosphorus", "B"),
        ("【答案】正确答案为ACE。", ""),
        ("正确答案为ACE。", "ACE"),
        ("答案选B", "B"),
        ("Answer- DB, D, C, A", ""),
        ("Answer: A patient with fever", ""),
        ("Answering this takes a while", ""),
        ("The vitamin is C.", ""),
        ("答案C是错误的", ""),
        ("", ""),
    ],
)
def test_explanations_announce_letters_that_stand_alone(text: str, letters: str) -> None:
    assert announced_gold(text) == letters


SURROGATE = "fever \ud83d"


@pytest.mark.parametrize(
    ("mapping", "values"),
    [
        ("canonical", {**CANONICAL, "question": SURROGATE}),
        ("canonical", {**CANONICAL, "options": ["a", SURROGATE, "c", "d"]}),
        ("canonical", {**CANONICAL, "context": SURROGATE}),
        ("canonical", {**CANONICAL, "rationale": SURROGATE}),
        ("canonical", {**CANONICAL, "subject": SURROGATE}),
        ("canonical", {**CANONICAL, "id": SURROGATE}),
        ("canonical", {**CANONICAL, "annotations": {"topic": SURROGATE}}),
        ("medmcqa", {**MEDMCQA, "opd": SURROGATE}),
        ("cmmlu", {**CMMLU, "A": SURROGATE}),
        (
            "promptcblue",
            {"input": SURROGATE, "target": "T", "answer_choices": [], "task_type": "c", "task_dataset": "X"},
        ),
        (
            "promptcblue",
            {
                "input": "I",
                "target": "T",
                "answer_choices": [SURROGATE],
                "task_type": "c",
                "task_dataset": "X",
            },
        ),
    ],
)
def test_half_a_character_is_named_with_its_row(mapping: str, values: dict[str, Any]) -> None:
    assert "half a character, U+D83D" in refused(mapping, values)


@pytest.mark.parametrize("question", ["0", "12", "３"])
def test_a_number_is_no_question(question: str) -> None:
    assert "the question is the number" in refused("canonical", {**CANONICAL, "question": question})


SPLITS = ["Test", "TEST", "test ", "tset", "val", "validation", "train", "Dev", None, "", 1, True, ["test"]]


@pytest.mark.parametrize("split", SPLITS)
def test_a_row_of_no_split_is_not_passed_over(split: object) -> None:
    assert "the split is" in refused("canonical", {**CANONICAL, "split": split})


def test_rows_without_a_split_are_tested_and_examples_are_passed_over() -> None:
    assert understand("canonical", CANONICAL)["id"] == "1"
    assert MAPPINGS["canonical"](Row("f", 1, {**CANONICAL, "split": "dev"}), CONTEXT) is None


@pytest.mark.parametrize(
    "name", ["CMEEE-V2", "CMeEE-V2 x", "CMeEE", "cmeee-v2", "IMCS", "", None, 3, "MyTask"]
)
def test_a_row_of_no_known_dataset_is_named(name: object) -> None:
    row = {"input": "I", "target": "T", "answer_choices": None, "task_type": "ner", "task_dataset": name}
    context = CONTEXT._replace(select="CMeEE-V2", selects=frozenset({"CMeEE-V2", "CMeIE"}))
    with pytest.raises(DataError, match="is no dataset of this benchmark") as caught:
        MAPPINGS["promptcblue"](Row("f, line 1", 1, row), context)
    assert caught.value.hint == "one of CMeEE-V2, CMeIE"
    assert MAPPINGS["promptcblue"](Row("f", 1, {**row, "task_dataset": "CMeIE"}), context) is None


def test_files_keep_what_they_annotate() -> None:
    cmexam = {
        **CMEXAM,
        "Medical Discipline": "内科",
        "Difficulty level": 3,
        "Clinical Department": "D",
        "Disease Group": "nan",
        "Area of Competency": "K",
    }
    assert understand("cmexam", cmexam)["annotations"] == {
        "difficulty": "3",
        "department": "D",
        "competency": "K",
    }
    assert understand("cmexam", cmexam)["subject"] == "内科"
    ple = {"question": "Q", "options": ABCD, "answer": "AB", "question_type": "多项选择题", "exam_type": "T"}
    assert understand("option_by_letter", ple)["annotations"] == {
        "question_type": "多项选择题",
        "exam_type": "T",
    }
    medmcqa = {**MEDMCQA, "choice_type": "multi", "topic_name": None}
    assert understand("medmcqa", medmcqa)["annotations"] == {"question_type": "multi"}
    own = {**CANONICAL, "annotations": {"ward": "7", "year": 2024, "empty": ""}}
    assert understand("canonical", own)["annotations"] == {"ward": "7", "year": "2024"}


@pytest.mark.parametrize("annotations", [["a"], "a", {"Ward 7": "x"}, {"ward": True}, {"ward": ["x"]}])
def test_annotations_are_names_with_texts(annotations: object) -> None:
    assert "annotation" in refused("canonical", {**CANONICAL, "annotations": annotations})


def test_a_language_that_is_none_is_refused() -> None:
    assert "'Chinese'" in refused("canonical", {**CANONICAL, "language": "Chinese"})


@pytest.mark.parametrize(
    ("mapping", "values"),
    [
        (
            "options_by_letter",
            {**MEDQA, "options": [{"key": k, "value": k} for k in "ABB"], "answer_idx": "A"},
        ),
        ("options_by_letter", {**MEDQA, "options": {**ABCD, "C ": "c2"}}),
        ("cmexam", {**CMEXAM, "Options": "A a\nB b\nB b2\nC c"}),
        ("cmexam", {**CMEXAM, "Options": "A a\nB b\nC c\nA again"}),
        ("xmedbench", {"question": "Q", "option": "(A) a.\n(B) b.\n(B) c.", "anwer": "(A)"}),
    ],
)
def test_no_option_is_given_twice(mapping: str, values: dict[str, Any]) -> None:
    assert "twice" in refused(mapping, values) or "two lines" in refused(mapping, values)
