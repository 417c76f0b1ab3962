"""Kinds of responses on which readers go wrong, in many forms; and every option given as the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from medbench.data import dataset_names, read, resolve
from medbench.models import Response
from medbench.scoring.exams import read_answer, score_generated
from medbench.scoring.extraction import read as read_text
from tests.scoring.forms import FORMS, misread
from tests.scoring.readings import CHOICES, QUESTIONS, READINGS, SEVERAL
from tests.scoring.readings_plain import PLAIN
from tests.scoring.readings_weighed import WEIGHED

_ROWS = [
    (kind, name, reading, text)
    for kind, cells in READINGS.items()
    for (name, reading), texts in cells.items()
    for text in texts
]
_CHINESE = {name for name, options in CHOICES.items() if any("一" <= c <= "鿿" for c in "".join(options))}


def _document(name: str, answer: str = "A", language: str = "en") -> dict[str, Any]:
    options = list(CHOICES[name])
    return {
        "letters": list("ABCDEFGHIJ"[: len(options)]),
        "options": options,
        "question": QUESTIONS.get(name, ""),
        "answer": answer,
        "language": language,
    }


def test_every_kind_has_its_forms_in_both_languages() -> None:
    for kind, cells in READINGS.items():
        counts = Counter[bool]()
        for (name, _), texts in cells.items():
            counts[name in _CHINESE or name == "bases"] += len(texts)
        assert sum(counts.values()) >= 10, kind
        assert min(counts[True], counts[False]) >= 5, kind


@pytest.mark.parametrize(("kind", "name", "reading", "text"), _ROWS)
def test_readings(kind: str, name: str, reading: str, text: str) -> None:
    doc = _document(name, "AB" if kind in SEVERAL else "A")
    assert read_answer(doc, text) == reading


@pytest.mark.parametrize(
    ("name", "question", "reading", "text"), [(*key, text) for key, texts in PLAIN.items() for text in texts]
)
def test_plain_readings(name: str, question: str, reading: str, text: str) -> None:
    assert read_answer(_document(name) | {"question": question}, text) == reading


def test_every_weighing_kind_has_ten_forms() -> None:
    assert all(sum(map(len, cells.values())) >= 10 for cells in WEIGHED.values())


@pytest.mark.parametrize(
    ("name", "question", "gold", "reading", "text"),
    [(*key, text) for cells in WEIGHED.values() for key, texts in cells.items() for text in texts],
)
def test_weighed_readings(name: str, question: str, gold: str, reading: str, text: str) -> None:
    assert read_answer(_document(name, gold) | {"question": question}, text) == reading


def test_only_a_question_with_one_answer_reads_letters_as_the_option_that_combines_them() -> None:
    options = list(CHOICES["both"])
    assert read_text("The answer is A and B.", list("ABCD"), options, single=True) == "C"
    assert read_text("The answer is A and B.", list("ABCD"), options, single=False) == "AB"


def test_two_letters_are_never_the_answer_of_a_question_with_one() -> None:
    doc = _document("drugs", "A")
    scores = score_generated(doc, ["The answers are A and B."])
    assert (scores["acc"], scores["extracted"]) == (0.0, 0.0)


@pytest.mark.parametrize("letter", "ABCD")
@pytest.mark.parametrize("name", ["groups", "statements", "rotated", "bases"])
def test_a_decoded_letter_is_not_read_from_text(name: str, letter: str) -> None:
    doc = _document(name)
    first = "Blood group A fits, and so does C.\n\nQuestion: Which one?\nThe answer is B."
    decoded = Response(f"{first}\nThe answer is {letter}", first_pass=first, second_pass=letter)
    assert read_answer(doc, decoded) == letter
    assert read_answer(doc, Response(letter)) == letter


def test_a_decoded_letter_that_is_no_option_is_no_answer() -> None:
    doc = _document("drugs")
    first = "The answer is B."
    assert read_answer(doc, Response(f"{first}\nThe answer is E", first_pass=first, second_pass="E")) == ""


@pytest.mark.parametrize(
    ("second", "reading"),
    [("A、C。", "AC"), ("B", "B"), ("A、B、D", "ABD"), ("不清楚", "E"), ("C\n\n题目：…答案为A", "C")],
)
def test_a_free_second_pass_decides_where_it_says_something(second: str, reading: str) -> None:
    doc = _document("药", "AC", "zh")
    first = "分析……答案为E。\n\n题目：下列哪项正确？"
    assert (
        read_answer(doc, Response(f"{first}\n答案为{second}", first_pass=first, second_pass=second))
        == reading
    )


def _sampled() -> Iterator[dict[str, Any]]:
    for dataset in dataset_names():
        if not dataset.startswith("promptcblue_"):
            for documents in read(resolve(dataset, None, "samples")).documents.values():
                yield from documents


def _by_words(form: str) -> bool:
    return "{L}" not in form


def _tells_nothing(doc: dict[str, Any], letter: str) -> bool:
    """Whether an option's words cannot stand for it: another has them, they are letters, or none."""
    text = doc["options"][doc["letters"].index(letter)]
    folded = [option.strip(" .。;；,，:：!！\"'\t\n") for option in doc["options"]]
    own = folded[doc["letters"].index(letter)]
    letters = "".join(char for char in text if char.isalnum()).upper()
    return folded.count(own) > 1 or not own or set(letters) <= set(doc["letters"])


def test_every_sampled_option_is_read_as_itself_in_every_form() -> None:
    documents = list(_sampled())
    assert sum(len(doc["options"]) for doc in documents) >= 900
    assert all(len(forms) == len(set(forms)) == 15 for forms in FORMS.values())
    assert [found for doc in documents for found in misread(doc)] == []


@pytest.mark.parametrize(
    "text", ["is the answer", "is correct", "为正确答案", "符合题意", "当选", "is the best choice."]
)
def test_a_verdict_on_nothing_is_no_answer(text: str) -> None:
    assert read_answer(_document("long"), text) == ""


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", CHOICES)
def test_every_nasty_option_is_read_as_itself(name: str, language: str) -> None:
    doc = _document(name, language=language)
    wrong = [
        (form, letter, reading)
        for form, letter, reading in misread(doc)
        if not (_by_words(form) and _tells_nothing(doc, letter))
    ]
    assert wrong == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("dataset", [name for name in dataset_names() if not name.startswith("promptcblue_")])
def test_every_real_option_is_read_as_itself(dataset: str, shared: Any) -> None:
    source = resolve(dataset, shared / "data", "folder-or-samples")
    if source.kind != "folder":
        pytest.skip("the reference data has no file of it")
    wrong, excused = [], []
    for documents in read(source).documents.values():
        for doc in documents:
            for form, letter, reading in misread(doc):
                if _by_words(form) and _tells_nothing(doc, letter):
                    excused.append(f"{doc['id']} {letter}")
                else:
                    wrong.append((doc["id"], form, letter, reading))
    assert wrong == []
    print(f"{dataset}: options whose words tell nothing: {', '.join(excused) or 'none'}")  # noqa: T201
