"""Every published form is understood, and every fault is told with its file and row."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medbench.data.readers import MAPPINGS, MappingContext, Unanswerable, read_rows
from medbench.data.rows import Row
from medbench.errors import DataError

CONTEXT = MappingContext("test", "en", "", "")


def understand(mapping: str, values: dict[str, Any]) -> Any:
    return MAPPINGS[mapping](Row("file, line 7", 3, values), CONTEXT)


LETTERED = {"A": "a", "B": "b", "C": "c", "D": "d"}
FORMS: list[tuple[str, dict[str, Any], list[str], str]] = [
    ("cmmlu", {"": "0", "Question": "Q", **LETTERED, "Answer": "c"}, list("abcd"), "C"),
    ("ceval", {"id": "4", "question": "Q", **LETTERED, "answer": "B", "explanation": "E"}, list("abcd"), "B"),
    ("mmlu", {"0": "Q", "1": "a", "2": "b", "3": "c", "4": "d", "5": "D"}, list("abcd"), "D"),
    ("choices", {"question": "Q", "subject": "s", "choices": ["a", "b"], "answer": 1}, ["a", "b"], "B"),
    ("options_by_letter", {"question": "Q", "options": LETTERED, "answer_idx": "A"}, list("abcd"), "A"),
    (
        "options_by_letter",
        {
            "question": "Q",
            "options": [{"key": "B", "value": "b"}, {"key": "A", "value": "a"}],
            "answer_idx": "B",
        },
        ["a", "b"],
        "B",
    ),
    (
        "option_by_letter",
        {"question": "Q", "option": {**LETTERED, "E": ""}, "answer": "DA"},
        list("abcd"),
        "AD",
    ),
    ("option_by_letter", {"question": "Q", "options": LETTERED, "answer": "B, C"}, list("abcd"), "BC"),
    ("xmedbench", {"question": "Q", "option": "(A) a.\n(B) b.b.", "anwer": "(B)"}, ["a", "b.b"], "B"),
    ("cmexam", {"Question": "Q", "Options": "A a\nB b\nC c", "Answer": "CA"}, ["a", "b", "c"], "AC"),
    ("cmexam", {"Question": "Q", "Options": "A a\\nB b", "Answer": "B"}, ["a", "b"], "B"),
    ("cmexam", {"Question": "Q", "Options": "A a\ngoes on\nB b", "Answer": "B"}, ["a\ngoes on", "b"], "B"),
    (
        "medmcqa",
        {"id": "x", "question": "Q", "opa": "a", "opb": "b", "opc": "c", "opd": "d", "cop": 1},
        list("abcd"),
        "A",
    ),
    (
        "medmcqa_hub",
        {"id": "x", "question": "Q", "opa": "a", "opb": "b", "opc": "c", "opd": "d", "cop": 1},
        list("abcd"),
        "B",
    ),
    (
        "medqa_hub",
        {
            "id": "x",
            "sent1": "Q",
            "sent2": "",
            "ending0": "a",
            "ending1": "b",
            "ending2": "c",
            "ending3": "d",
            "label": 3,
        },
        list("abcd"),
        "D",
    ),
    (
        "pubmedqa",
        {"key": "12", "QUESTION": "Q", "CONTEXTS": ["x", "y"], "final_decision": "maybe"},
        ["yes", "no", "maybe"],
        "C",
    ),
]


@pytest.mark.parametrize(("mapping", "values", "options", "answer"), FORMS)
def test_forms(mapping: str, values: dict[str, Any], options: list[str], answer: str) -> None:
    document = understand(mapping, values)
    assert (document["question"], document["options"], document["answer"]) == ("Q", options, answer)
    assert document["letters"] == list("ABCDE")[: len(options)]
    assert document["id"].startswith("test-")


FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("cmmlu", {"Question": "Q", "A": "a", "B": "b", "C": "c", "Answer": "A"}, "column 'D' is missing"),
    ("cmmlu", {"Question": "Q", **LETTERED, "Answer": "E"}, "'E' is outside the options A to D"),
    ("cmmlu", {"Question": " ", **LETTERED, "Answer": "A"}, "question is empty"),
    ("cmmlu", {"Question": "Q", **LETTERED, "C": "", "Answer": "A"}, "option C is empty"),
    ("choices", {"question": "Q", "subject": "", "choices": ["a", "b"], "answer": 2}, "'C' is outside"),
    ("choices", {"question": "Q", "subject": "", "choices": ["a", "b"], "answer": "x"}, "not a number"),
    ("choices", {"question": "Q", "subject": "", "choices": ["a"], "answer": 0}, "1 options"),
    (
        "options_by_letter",
        {"question": "Q", "options": "a", "answer_idx": "A"},
        "expected letters with texts",
    ),
    (
        "options_by_letter",
        {"question": "Q", "options": {"A": "a", "C": "c"}, "answer_idx": "A"},
        "lettered 'AC'",
    ),
    ("cmexam", {"Question": "Q", "Options": "B b\nC c", "Answer": "B"}, "lettered 'BC'"),
    ("xmedbench", {"question": "Q", "option": "a\nb", "anwer": "(A)"}, "expected the letter A"),
    ("pubmedqa", {"key": "1", "QUESTION": "Q", "CONTEXTS": [], "final_decision": "perhaps"}, "'perhaps'"),
    ("canonical", {"id": "1", "question": "Q", "options": "ab", "answer": "A"}, "expected a list"),
    (
        "canonical",
        {"id": "1", "question": "Q", "options": ["a", "b"], "letters": ["B", "A"], "answer": "A"},
        "letters",
    ),
    ("promptcblue", {"input": "I", "target": "T"}, "column 'answer_choices'"),
    (
        "promptcblue",
        {"input": "I", "target": "T", "answer_choices": "a", "task_type": "cls", "task_dataset": "X"},
        "list of strings",
    ),
    (
        "promptcblue",
        {"input": " ", "target": "T", "answer_choices": None, "task_type": "cls", "task_dataset": "X"},
        "input is empty",
    ),
]


@pytest.mark.parametrize(("mapping", "values", "message"), FAULTS)
def test_faults_name_their_row(mapping: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        understand(mapping, values)
    assert "file, line 7" in str(caught.value)


@pytest.mark.parametrize("missing", ["", "nan", "None"])
def test_rows_without_an_answer_are_set_aside(missing: str) -> None:
    row = {"Question": "Q", "Options": "A a\nB b", "Answer": missing}
    assert understand("cmexam", row) == Unanswerable("file, line 7", "no gold answer")


def test_rows_of_other_tasks_are_passed_over() -> None:
    row = {"input": "I", "target": "T", "answer_choices": None, "task_type": "cls", "task_dataset": "CMeIE"}
    context = CONTEXT._replace(select="CMeEE-V2")
    assert MAPPINGS["promptcblue"](Row("f", 1, row), context) is None


def rows(tmp_path: Path, name: str, content: str | bytes, file_format: str) -> list[Row]:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_rows(path, file_format))


def test_csv_keeps_quoted_line_breaks_and_places(tmp_path: Path) -> None:
    found = rows(tmp_path, "x.csv", '\ufeffa,b\n"1\n2",x\n\n3,"say ""no"""\n', "csv")
    assert [dict(row.values) for row in found] == [{"a": "1\n2", "b": "x"}, {"a": "3", "b": 'say "no"'}]
    assert found[1].where.endswith("line 5")


def test_json_lines_are_split_at_line_feeds_only(tmp_path: Path) -> None:
    found = rows(
        tmp_path, "x.jsonl", json.dumps({"a": "x\u2028y"}, ensure_ascii=False) + "\n\n" + '{"a": 1}', "jsonl"
    )
    assert [row.values["a"] for row in found] == ["x\u2028y", 1]
    assert found[1].where.endswith("line 3")


@pytest.mark.parametrize(
    ("content", "file_format", "message"),
    [
        ("a,b\n1\n", "csv", "1 columns"),
        ('a,b\n"1,2\n', "csv", "cannot be parsed"),
        ('{"a": 1}\n{"a": \n', "jsonl", "not JSON"),
        ("[1]\n", "jsonl", "list, expected an object"),
        ('{"a": 1}', "json_list", "expected a list"),
        ("[1, 2]", "json_list", "int, expected an object"),
        ('{"a": 1}', "json_keyed", "int, expected an object"),
        ("[" * 100_000, "json_list", "not JSON"),
        ('{"a": ' + "9" * 5000 + "}", "jsonl", "not JSON"),
        (b"\xff\xfe", "csv", "not UTF-8"),
        (b"no workbook", "xlsx", "workbook cannot be read"),
        (b"PK\x03\x04" + b"\0" * 50, "xlsx", "workbook cannot be read"),
    ],
)
def test_damaged_files_are_refused(
    content: str | bytes, file_format: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        rows(tmp_path, "damaged", content, file_format)
    assert "damaged" in str(caught.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        list(read_rows(tmp_path / "nowhere.csv", "csv"))


def test_few_faulty_rows_of_a_published_file_are_set_aside_and_many_are_not() -> None:
    from medbench.data.reading import map_rows

    good = {"Question": "Q", **LETTERED, "Answer": "A"}
    bad = {**good, "Answer": "Z"}

    def made(n: int, faulty: int) -> list[Row]:
        return [Row(f"f, line {i}", i, bad if i < faulty else good) for i in range(n)]

    found = map_rows(made(200, 2), "cmmlu", CONTEXT, upstream=True)
    assert sum(isinstance(document, Unanswerable) for _, document in found) == 2
    with pytest.raises(DataError, match="outside the options"):
        map_rows(made(200, 3), "cmmlu", CONTEXT, upstream=True)
    with pytest.raises(DataError, match="outside the options"):
        map_rows(made(200, 1), "cmmlu", CONTEXT, upstream=False)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.one_of(
        st.binary(max_size=80), st.text(alphabet='{}[]",:ab1\n\t- ', max_size=80).map(str.encode)
    ),
    file_format=st.sampled_from(["csv", "csv_bare", "jsonl", "json_list", "json_keyed", "xlsx"]),
    mapping=st.sampled_from(sorted(MAPPINGS)),
)
def test_any_bytes_are_read_or_refused(
    content: bytes, file_format: str, mapping: str, tmp_path: Path
) -> None:
    # Nothing but the package's own error may come out, whatever goes in.
    with contextlib.suppress(DataError):
        for row in rows(tmp_path, "any", content, file_format):
            MAPPINGS[mapping](row, CONTEXT)


_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 9),
    st.text(max_size=5),
    st.lists(st.text(max_size=3), max_size=4),
)
_SOUND = [(mapping, values) for mapping, values, _, _ in FORMS] + [
    ("canonical", {"id": "1", "question": "Q", "options": ["a", "b"], "answer": "A"}),
    (
        "promptcblue",
        {"input": "I", "target": "T", "answer_choices": [], "task_type": "c", "task_dataset": "X"},
    ),
]


@settings(max_examples=600, deadline=None)
@given(form=st.sampled_from(_SOUND), data=st.data(), value=_VALUES)
def test_any_value_is_understood_or_refused(
    form: tuple[str, dict[str, Any]], data: st.DataObject, value: object
) -> None:
    mapping, values = form
    column = data.draw(st.sampled_from(sorted(values)))
    with contextlib.suppress(DataError):
        understand(mapping, {**values, column: value})
