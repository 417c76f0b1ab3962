"""File formats: from bytes to rows of named columns, with the location of every row for messages."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from medbench.data.readers.strict_json import parse_json, refuse_repeated
from medbench.data.rows import Row
from medbench.errors import DataError

# A CSV field may contain a whole case history; the csv module allows 128 KiB by default.
_CSV_FIELD_LIMIT = 4 * 1024 * 1024
# What spreadsheet programs show in a cell whose formula failed.
_FORMULA_ERRORS = ("#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!")


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"the file is not UTF-8 text (byte {error.start})",
            where=str(path),
            hint="convert it to UTF-8, or fetch it again",
        ) from error


def _csv_records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Records with the line each begins on, 1-based."""
    csv.field_size_limit(_CSV_FIELD_LIMIT)
    # Only carriage returns and line feeds end a line: texts may hold U+2028, vertical tabs and their like.
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    begin = 1
    try:
        for record in reader:
            if record:
                yield begin, record
            begin = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"the CSV cannot be parsed: {error}", where=f"{path}, line {begin}", hint="check the quotes there"
        ) from error


def _named_columns(names: Sequence[Any], path: Path) -> list[str]:
    """Column names of a header, stripped; empty where a column has none.

    Raises:
        DataError: If two are alike but for case.
    """
    header = ["" if name is None else str(name).strip() for name in names]
    seen: set[str] = set()
    for name in filter(None, header):
        if name.casefold() in seen:
            raise DataError(
                f"the column {name!r} stands twice in the header",
                where=str(path),
                hint="keep one of them; only one can be the one that is meant",
            )
        seen.add(name.casefold())
    return header


def _named(header: Sequence[str], cells: Sequence[Any], where: str) -> dict[str, Any]:
    """Cells by column; the first column without a name keeps its cell, as an index.

    Raises:
        DataError: If another column without a name has a cell that is not empty.
    """
    values = dict(zip(header, cells, strict=False))
    nameless = [index for index, name in enumerate(header) if not name]
    for index in (*nameless[1:], *range(len(header), len(cells))):
        if str(cells[index] if cells[index] is not None else "").strip():
            raise DataError(
                f"column {index + 1} holds {str(cells[index])[:40]!r}, but has no name",
                where=where,
                hint="name it in the header, or take it out; nothing is guessed from where it stands",
            )
    if nameless and nameless[0] < len(cells):
        values[""] = cells[nameless[0]]
    return values


def _csv(path: Path) -> Iterator[Row]:
    header: list[str] | None = None
    for number, (line, record) in enumerate(_csv_records(path)):
        if header is None:
            header = _named_columns(record, path)
            continue
        where = f"{path}, line {line}"
        if len(record) != len(header):
            raise DataError(
                f"{len(record)} columns, but the header has {len(header)}",
                where=where,
                hint="check the quotes and commas on that line",
            )
        yield Row(where, number, _named(header, record, where))


def _csv_bare(path: Path) -> Iterator[Row]:
    for number, (line, record) in enumerate(_csv_records(path), start=1):
        yield Row(f"{path}, line {line}", number, {str(index): cell for index, cell in enumerate(record)})


def _record(value: Any, where: str) -> dict[str, Any]:
    """A record of a JSON file.

    Raises:
        DataError: If it is no object, or a field is written twice in it or within it.
    """
    refuse_repeated(value, where)
    if not isinstance(value, dict):
        raise DataError(
            f"a record is {type(value).__name__}, expected an object",
            where=where,
            hint="each record is a JSON object with named fields",
        )
    return value


def _jsonl(path: Path) -> Iterator[Row]:
    number = 0
    # Not splitlines(): texts may contain U+2028 and its like, which are no line ends in JSON Lines.
    for line_number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            number += 1
            where = f"{path}, line {line_number}"
            yield Row(where, number, _record(parse_json(line, where), where))


def _json_list(path: Path) -> Iterator[Row]:
    records = parse_json(_text(path), str(path))
    if not isinstance(records, list):
        raise DataError(
            f"the file holds {type(records).__name__}, expected a list of records",
            where=str(path),
            hint="use a JSON list of objects",
        )
    for number, record in enumerate(records, start=1):
        where = f"{path}, record {number}"
        yield Row(where, number, _record(record, where))


def _json_keyed(path: Path) -> Iterator[Row]:
    records = parse_json(_text(path), str(path))
    if not isinstance(records, dict):
        records = _record(records, str(path))
    for number, (key, record) in enumerate(records.items(), start=1):
        where = f"{path}, key {key}"
        yield Row(where, number, {**_record(record, where), "key": key})


def _filled(cells: Sequence[Any]) -> bool:
    return any(cell is not None for cell in cells)


def _xlsx(path: Path) -> Iterator[Row]:
    import openpyxl  # only workbooks need it
    from openpyxl.utils.exceptions import InvalidFileException

    hint = "fetch the file again, or save it as .xlsx"
    try:
        with path.open("rb") as handle:
            workbook = openpyxl.load_workbook(handle, read_only=True, data_only=True)
            sheets = {sheet.title: list(sheet.iter_rows(values_only=True)) for sheet in workbook.worksheets}
            workbook.close()
    except (zipfile.BadZipFile, InvalidFileException, KeyError, IndexError, ValueError, ParseError) as error:
        raise DataError(f"the workbook cannot be read: {error}", where=str(path), hint=hint) from error
    filled = {title: rows for title, rows in sheets.items() if any(map(_filled, rows))}
    if not filled:
        raise DataError("the workbook is empty", where=str(path), hint=hint)
    if len(filled) > 1:
        raise DataError(
            f"the workbook has {len(filled)} sheets with rows: {', '.join(filled)}",
            where=str(path),
            hint="save the one that is meant as a workbook of its own",
        )
    records = next(iter(filled.values()))
    header = _named_columns(records[0], path)
    for number, cells in enumerate(records[1:], start=1):
        if _filled(cells):
            where = f"{path}, row {number + 1}"
            failed = next((cell for cell in cells if cell in _FORMULA_ERRORS), None)
            if failed is not None:
                raise DataError(
                    f"a cell holds {failed}, the mark of a formula that failed",
                    where=where,
                    hint="correct the formula, or write its value",
                )
            yield Row(where, number, _named(header, cells, where))


FORMATS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "csv": _csv,
    "csv_bare": _csv_bare,
    "jsonl": _jsonl,
    "json_list": _json_list,
    "json_keyed": _json_keyed,
    "xlsx": _xlsx,
}


def read_rows(path: Path, file_format: str) -> Iterator[Row]:
    """Read the records of a file.

    Args:
        path: The file.
        file_format: One of :data:`FORMATS`.

    Raises:
        DataError: If the file cannot be read or parsed; names the file and the line.
    """
    try:
        yield from FORMATS[file_format](path)
    except OSError as error:
        raise DataError(
            f"the file cannot be read: {error.strerror}",
            where=str(path),
            hint="check the path and its permissions",
        ) from error
