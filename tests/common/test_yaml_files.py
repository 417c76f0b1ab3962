"""YAML is read with its lines, without running anything, whatever is in it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field

from medbench.common.strict import Count, Record
from medbench.common.yaml_files import Function, read_yaml
from medbench.errors import CatalogError, DataError


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "definition.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_lines_and_duplicates(tmp_path: Path) -> None:
    file = read_yaml(
        write(tmp_path, "task: a\nmetadata:\n  version: 1\n  version: 2\nlist:\n  - x: 1\n  - x: 2\n"),
        CatalogError,
    )
    assert file.lines[("metadata", "version")] == 3
    assert file.lines[("list", 1, "x")] == 7
    assert file.duplicates == ((("metadata", "version"), 4),)


def test_functions_are_names(tmp_path: Path) -> None:
    file = read_yaml(write(tmp_path, "score: !function os.system\n"), CatalogError)
    assert file.values["score"] == Function("os.system", tmp_path)
    assert file.values["score"].local_file is None


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system ['true']",
        "a: !unknown b",
        "a: [1, 2",
        "a: 'open",
        "- a\n- b",
        "",
        "just text",
        "? [1]\n: a",
        "a: 2020-13-45",
        b"\xff\xfe\x00a",
        b"a: \x00",
        "a: &x [*x, *y]",
        "[" * 5000,
        "a: " + "{b: " * 3000,
        "x" * 2_000_000,
    ],
)
def test_what_is_no_definition_is_an_error_with_its_file(text: str | bytes, tmp_path: Path) -> None:
    with pytest.raises(CatalogError) as caught:
        read_yaml(write(tmp_path, text), CatalogError)
    assert "definition.yaml" in str(caught.value.where)


def test_aliases_do_not_multiply(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(CatalogError, match=r"too many entries[\s\S]*definition\.yaml"):
        read_yaml(write(tmp_path, "\n".join(lines)), CatalogError)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet="ab:-[]{}&*!|>'\"#,?\n\t 1%@`中", max_size=60))
def test_any_text_is_read_or_refused(text: str, tmp_path: Path) -> None:
    # Nothing but the package's own error may come out, whatever goes in.
    with contextlib.suppress(CatalogError):
        assert isinstance(read_yaml(write(tmp_path, text), CatalogError).values, dict)


class Part(Record):
    size: Count
    label: str = ""


class Whole(Record):
    title: str = ""
    thinking: Literal["auto", "on", "off"] = "auto"
    flag: bool = False
    parts: dict[str, Part] = Field(default_factory=dict)
    rows: list[Part] = Field(default_factory=list)


@pytest.mark.parametrize(
    ("text", "what", "line"),
    [
        ("title: 5\n", "'title' is 5, expected text", 1),
        ("title: a\ntitel: b\n", "unknown key 'titel'", 2),
        ("title: a\n\n# said\nflag: maybe\n", "'flag' is 'maybe', expected true or false", 4),
        ("parts:\n  a:\n    size: 1\n  b:\n    size: 0\n", "'size' under 'b' is 0", 5),
        ("parts:\n  a:\n    size: 1\n  b:\n    label: x\n", "'size' under 'b' is missing", 4),
        ("parts:\n  a: {size: 1, sise: 2}\n", "unknown key 'sise' under 'a'", 2),
        ("parts:\n  a: 3\n", "'a' under 'parts' is 3, expected keys with values", 2),
        ("rows:\n- size: 1\n- size: '2'\n", "'size' under 'rows' is '2'", 3),
        ("rows:\n- size: 1\n-\n  - 2\n", "item 2 of 'rows' is [2], expected keys with values", 4),
        ("rows: 3\n", "'rows' is 3, expected a list", 1),
        ("thinking: sometimes\n", "'thinking' is 'sometimes', expected one of auto, on, off", 1),
        ("title: a\nparts:\n  a:\n    size: 1\n    size: 2\n", "the key 'size' is written twice", 5),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, what: str, line: int, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_yaml(write(tmp_path, text), DataError).record(Whole)
    assert caught.value.what.startswith(what)
    assert caught.value.where == f"{tmp_path / 'definition.yaml'}, line {line}"
    listed = "".join(f"  {row}\n" for row in text.splitlines())
    with pytest.raises(DataError) as caught:
        read_yaml(write(tmp_path, f"- title: first\n-\n{listed}"), DataError, list).records(Whole)
    assert caught.value.what.startswith(what)
    assert caught.value.where == f"{tmp_path / 'definition.yaml'}, line {line + 2}"


@pytest.mark.parametrize(
    ("written", "read"),
    [("on", "on"), ("off", "off"), ("yes", "on"), ("'off'", "off"), ("auto", "auto"), ("null", "auto")],
)
def test_on_and_off_are_words_where_words_are_meant(written: str, read: str, tmp_path: Path) -> None:
    text = f"thinking: {written}\nflag: on\n"
    assert read_yaml(write(tmp_path, text), DataError).record(Whole) == Whole(thinking=read, flag=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null\n"])
def test_an_empty_file_is_empty_only_where_it_may_be(text: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    assert read_yaml(path, DataError, may_be_empty=True).record(Whole) == Whole()
    assert read_yaml(path, DataError, list, may_be_empty=True).records(Whole) == []
    for root, message in ((dict, "expected keys with values, found nothing"), (list, "expected a list of")):
        with pytest.raises(DataError, match=message):
            read_yaml(path, DataError, root)
