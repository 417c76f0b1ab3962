"""File formats: from bytes to rows of named columns, with the place of every row for messages."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from medbench.data.documents import Row
from medbench.errors import DataError

__all__ = ["FORMATS", "read_rows"]

# One field of a CSV may hold a whole case history; the csv module stops at 128 KiB by default.
_CSV_FIELD_LIMIT = 4 * 1024 * 1024


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
    csv.field_size_limit(_CSV_FIELD_LIMIT)
    # Physical lines keep quoted line breaks intact for the csv module.
    reader = csv.reader(_text(path).splitlines(keepends=True), strict=True)
    try:
        for record in reader:
            if record:
                yield reader.line_num, record
    except csv.Error as error:
        raise DataError(
            f"the CSV cannot be parsed: {error}",
            where=f"{path}, line {reader.line_num}",
            hint="check the quotes on that line",
        ) from error


def _csv(path: Path) -> Iterator[Row]:
    header: list[str] | None = None
    for number, (line, record) in enumerate(_csv_records(path)):
        if header is None:
            header = [name.strip() for name in record]
            continue
        where = f"{path}, line {line}"
        if len(record) != len(header):
            raise DataError(
                f"{len(record)} columns, but the header has {len(header)}",
                where=where,
                hint="check the quotes and commas on that line",
            )
        yield Row(where, number, dict(zip(header, record, strict=True)))


def _csv_bare(path: Path) -> Iterator[Row]:
    for number, (line, record) in enumerate(_csv_records(path), start=1):
        yield Row(f"{path}, line {line}", number, {str(index): cell for index, cell in enumerate(record)})


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(
            f"a record is {type(value).__name__}, expected an object",
            where=where,
            hint="each record is a JSON object with named fields",
        )
    return value


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    # Beside broken syntax: numbers of thousands of digits, and bottomless nesting.
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON: {error}", where=where, hint="mend the file, or fetch it again") from error


def _jsonl(path: Path) -> Iterator[Row]:
    number = 0
    # Not splitlines(): texts may contain U+2028 and its like, which are no line ends in JSON Lines.
    for line_number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            number += 1
            where = f"{path}, line {line_number}"
            yield Row(where, number, _mapping(_json(line, where), where))


def _json_list(path: Path) -> Iterator[Row]:
    records = _json(_text(path), str(path))
    if not isinstance(records, list):
        raise DataError(
            f"the file holds {type(records).__name__}, expected a list of records",
            where=str(path),
            hint="use a JSON list of objects",
        )
    for number, record in enumerate(records, start=1):
        where = f"{path}, record {number}"
        yield Row(where, number, _mapping(record, where))


def _json_keyed(path: Path) -> Iterator[Row]:
    records = _mapping(_json(_text(path), str(path)), str(path))
    for number, (key, record) in enumerate(records.items(), start=1):
        where = f"{path}, key {key}"
        yield Row(where, number, {"key": key, **_mapping(record, where)})


def _xlsx(path: Path) -> Iterator[Row]:
    import openpyxl  # only workbooks need it
    from openpyxl.utils.exceptions import InvalidFileException

    hint = "fetch the file again, or save it as .xlsx"
    try:
        with path.open("rb") as handle:
            workbook = openpyxl.load_workbook(handle, read_only=True, data_only=True)
            records = [tuple(cells) for cells in workbook.worksheets[0].iter_rows(values_only=True)]
            workbook.close()
    except (zipfile.BadZipFile, InvalidFileException, KeyError, IndexError, ValueError, ParseError) as error:
        raise DataError(f"the workbook cannot be read: {error}", where=str(path), hint=hint) from error
    if not records:
        raise DataError("the workbook is empty", where=str(path), hint=hint)
    header = ["" if name is None else str(name).strip() for name in records[0]]
    for number, cells in enumerate(records[1:], start=1):
        if any(cell is not None for cell in cells):
            yield Row(f"{path}, row {number + 1}", number, dict(zip(header, cells, strict=False)))


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
