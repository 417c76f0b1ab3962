"""YAML is read with its lines, without running anything, whatever is in it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medbench.catalog.reading import Function, read_yaml
from medbench.errors import CatalogError


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "definition.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_lines_and_duplicates(tmp_path: Path) -> None:
    file = read_yaml(
        write(tmp_path, "task: a\nmetadata:\n  version: 1\n  version: 2\nlist:\n  - x: 1\n  - x: 2\n")
    )
    assert file.lines[("metadata", "version")] == 3
    assert file.lines[("list", 1, "x")] == 7
    assert file.duplicates == ((("metadata", "version"), 4),)


def test_functions_are_names(tmp_path: Path) -> None:
    file = read_yaml(write(tmp_path, "score: !function os.system\n"))
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
        read_yaml(write(tmp_path, text))
    assert "definition.yaml" in str(caught.value.where)


def test_aliases_do_not_multiply(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(CatalogError, match=r"too many entries[\s\S]*definition\.yaml"):
        read_yaml(write(tmp_path, "\n".join(lines)))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet="ab:-[]{}&*!|>'\"#,?\n\t 1%@`中", max_size=60))
def test_any_text_is_read_or_refused(text: str, tmp_path: Path) -> None:
    # Nothing but the package's own error may come out, whatever goes in.
    with contextlib.suppress(CatalogError):
        assert isinstance(read_yaml(write(tmp_path, text)).values, dict)
