"""What a file says twice, or leaves without a name, is refused where it stands; other marks end no line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from medbench.data.readers import MAPPINGS, MappingContext, read_rows
from medbench.errors import DataError

CONTEXT = MappingContext("test", "en", "", "")


@pytest.mark.parametrize(
    "cells",
    ["0,q,x,y,z,w,A", "q,v,w,x,y,z,A", "q,x,y,z,A", "q,x,y,z,w,A,", "0,q,x,y,z,A"],
)
def test_bare_rows_have_six_columns_and_a_question(cells: str, tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text(cells + "\n", encoding="utf-8")
    (row,) = read_rows(tmp_path / "f.csv", "csv_bare")
    with pytest.raises(DataError, match=r"columns|the question is the number") as caught:
        MAPPINGS["mmlu"](row, CONTEXT)
    assert str(caught.value.where).endswith("f.csv, line 1")


def _write(content: str, suffix: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / f"f.{suffix}"
        path.write_text(content, encoding="utf-8")
        return path

    return write


def _workbook(*sheets: list[list[object]]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        import openpyxl

        book = openpyxl.Workbook()
        for number, rows in enumerate(sheets):
            sheet = book.active if number == 0 else book.create_sheet()
            assert sheet is not None
            for row in rows:
                sheet.append(row)
        book.save(folder / "f.xlsx")
        return folder / "f.xlsx"

    return write


RECORD = json.dumps({"q": 1, "options": {"A": "a"}})
TWICE: list[tuple[Callable[[Path], Path], str, str, str]] = [
    (_write(",Question,Answer,Answer\n0,q,A,B\n", "csv"), "csv", "'Answer' stands twice", "f.csv"),
    (_write("Question,answer,Answer\nq,A,B\n", "csv"), "csv", "'Answer' stands twice", "f.csv"),
    (_write("Question,Answer , Answer\nq,A,B\n", "csv"), "csv", "'Answer' stands twice", "f.csv"),
    (_write("A,B,a\n1,2,3\n", "csv"), "csv", "'a' stands twice", "f.csv"),
    (_write(",Question,\n0,q,x\n", "csv"), "csv", "column 3 holds 'x', but has no name", "line 2"),
    (_write('{"a": 1, "a": 2}\n', "jsonl"), "jsonl", "'a' is written twice", "line 1"),
    (_write(RECORD + '\n{"a": 1, "A": 2}\n', "jsonl"), "jsonl", "'A' is written twice", "line 2"),
    (_write('{"o": {"C": "c", "D": "d", "C": "e"}}\n', "jsonl"), "jsonl", "'C' is written twice", "line 1"),
    (_write('{"o": [{"k": 1, "k": 2}]}\n', "jsonl"), "jsonl", "'k' is written twice", "line 1"),
    (_write(f'[{RECORD}, {{"a": 1, "a ": 2}}]', "json"), "json_list", "'a ' is written twice", "record 2"),
    (_write('[{"o": {"A": 1, "A": 1}}]', "json"), "json_list", "'A' is written twice", "record 1"),
    (_write('{"1": {"q": 1}, "1": {"q": 2}}', "json"), "json_keyed", "'1' is written twice", "f.json"),
    (_write('{"1": {"q": 1, "q": 2}}', "json"), "json_keyed", "'q' is written twice", "key 1"),
    (_workbook([["Answer", "Answer"], ["A", "B"]]), "xlsx", "'Answer' stands twice", "f.xlsx"),
    (_workbook([["Answer", None, None], ["A", None, "B"]]), "xlsx", "column 3 holds 'B'", "row 2"),
    (_workbook([["Answer"], ["A"]], [["Answer"], ["B"]]), "xlsx", "2 sheets with rows", "f.xlsx"),
    (_workbook([["Answer"], ["#REF!"]]), "xlsx", "formula that failed", "row 2"),
]


@pytest.mark.parametrize(("write", "file_format", "message", "where"), TWICE)
def test_nothing_is_said_twice(
    write: Callable[[Path], Path], file_format: str, message: str, where: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        list(read_rows(write(tmp_path), file_format))
    assert str(caught.value.where).endswith(where)


def test_an_index_and_empty_columns_without_names_are_harmless(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text(",Question,,\n0,q,,\n", encoding="utf-8")
    (row,) = read_rows(tmp_path / "f.csv", "csv")
    assert dict(row.values) == {"": "0", "Question": "q"}


@pytest.mark.parametrize(
    "mark", ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\u00a0", "\t"]
)
@pytest.mark.parametrize("quote", ["", '"'])
def test_only_line_feeds_and_returns_end_a_csv_line(mark: str, quote: str, tmp_path: Path) -> None:
    text = f"a,b\n{quote}1{mark}2{quote},x\r\n3,y\rz,w\n"
    (tmp_path / "f.csv").write_bytes(text.encode())
    rows = list(read_rows(tmp_path / "f.csv", "csv"))
    assert [row.values["a"] for row in rows] == [f"1{mark}2", "3", "z"]
    assert [row.where.rpartition(", ")[2] for row in rows] == ["line 2", "line 3", "line 4"]


def test_a_record_is_named_by_the_line_it_begins_on(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text('a,b\n\n"1\n2\n3",x\n4,y\n', encoding="utf-8")
    assert [r.where[-6:] for r in read_rows(tmp_path / "f.csv", "csv")] == ["line 3", "line 6"]
