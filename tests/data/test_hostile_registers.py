"""A register of datasets comes from strangers: it names files beside it, by known keys of known kinds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medbench.data import load
from medbench.data.registry import get_entry, register
from medbench.errors import DataError

DOCUMENT = {"id": "1", "question": "q", "options": ["a", "b"], "letters": ["A", "B"], "answer": "A"}


def write(folder: Path, dataset: str = "{}", benchmark: str = "", top: str = "") -> None:
    (folder / "samples").mkdir(exist_ok=True)
    extra = f", {benchmark}" if benchmark else ""
    (folder / "sources.yaml").write_text(
        f"benchmarks: {{m: {{schema: exam, language: en{extra}, datasets: {{mine: {dataset}}}}}}}\n{top}\n",
        encoding="utf-8",
    )


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "../../secret",
        "/etc/x",
        "a/../../secret",
        "./secret",
        "a//b",
        "..",
        "c:secret",
        "a\\b",
    ],
)
def test_samples_lie_beside_the_register(name: str, tmp_path: Path) -> None:
    write(tmp_path, dataset=f"{{samples: '{name}'}}")
    with pytest.raises(DataError, match="leaves the data folder"):
        register([tmp_path])


def test_samples_are_no_link_that_leads_out(tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    folder.mkdir()
    secret = tmp_path / "secret.jsonl"
    secret.write_text(json.dumps(DOCUMENT) + "\n", encoding="utf-8")
    write(folder)
    (folder / "samples" / "mine.jsonl").symlink_to(secret)
    with pytest.raises(DataError, match="leads out of its folder"):
        register([folder])
    (folder / "samples" / "mine.jsonl").unlink()
    (folder / "samples" / "real.jsonl").write_text(secret.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "samples" / "mine.jsonl").symlink_to("real.jsonl")
    register.__globals__["_combined"].cache_clear()
    assert len(load(dataset="mine", tasks_dirs=[folder])["test"]) == 1


@pytest.mark.parametrize(
    "text",
    ["{name.__class__}", "{name.__class__.__mro__}", "{0}", "{other}", "{name!r}", "{name:>999999999}", "{"],
)
def test_braces_of_a_register_are_no_formats(text: str, tmp_path: Path) -> None:
    files = f"splits: {{test: {{files: [{{path: 'x/{text.replace(':', '_')}.jsonl', format: jsonl}}]}}}}"
    write(tmp_path, benchmark=f"{files}, hub: {{id: 'a/{text}', config: '{text}'}}")
    entry = get_entry("mine", [tmp_path])
    assert entry.splits[0].choices[-1].path == f"x/{text.replace(':', '_')}.jsonl"
    assert entry.hub is not None
    assert (entry.hub.id, entry.hub.config) == (f"a/{text}", text)


def test_the_name_of_a_dataset_stands_in_what_its_benchmark_shares(tmp_path: Path) -> None:
    files = "splits: {test: {files: [{path: '{name}/{name}.csv', format: csv}]}}"
    write(tmp_path, dataset="{name: own}", benchmark=f"{files}, hub: {{id: 'a/b', config: '{{name}}'}}")
    entry = get_entry("mine", [tmp_path])
    assert entry.splits[0].choices[-1].path == "own/own.csv"
    assert entry.hub is not None
    assert entry.hub.config == "own"


@pytest.mark.parametrize(
    ("dataset", "benchmark", "top", "message"),
    [
        ("{subjekt: x}", "", "", "unknown key 'subjekt'"),
        ("{subject: 5}", "", "", "'subject' under 'mine' is 5, expected text"),
        ("{subject: no}", "", "", "'subject' under 'mine' is False, expected text"),
        ("{n: many}", "", "", "'n' under 'mine' is 'many', expected a positive whole number"),
        ("{n: -1}", "", "", "'n' under 'mine' is -1"),
        ("{n: 2.5}", "", "", "'n' under 'mine' is 2.5"),
        ("[]", "", "", r"'mine' under 'datasets' is \[\], expected keys with values"),
        ("x", "", "", "'mine' under 'datasets' is 'x', expected keys with values"),
        ("{}", "titel: x", "", "unknown key 'titel'"),
        ("{}", "title: [x]", "", r"'title' under 'm' is \['x'\], expected text"),
        ("{}", "schema: essay", "", "written twice"),
        ("{}", "hub: x/y", "", "'hub' under 'm' is 'x/y', expected keys with values"),
        ("{}", "hub: {}", "", "'id' under 'hub' is missing"),
        ("{}", "hub: {id: x/y, splits: [test]}", "", "'splits' under 'hub' is .* expected keys with values"),
        ("{}", "hub: {id: x/y, revison: abc}", "", "unknown key 'revison'"),
        ("{}", "hub: {id: x/y, revision: 12}", "", "'revision' under 'hub' is 12, expected text"),
        ("{}", "splits: [test]", "", "'splits' under 'm' is .* expected keys with values"),
        ("{}", "splits: {train: {}}", "", "unknown key 'train'"),
        ("{}", "splits: {test: [x]}", "", "'test' under 'splits' is .* expected keys with values"),
        ("{}", "splits: {test: {files: x}}", "", "'files' under 'test' is 'x', expected a list"),
        (
            "{}",
            "splits: {test: {files: [x]}}",
            "",
            "item 1 of 'files' under 'test' is 'x', expected keys with values",
        ),
        ("{}", "splits: {test: {files: [{path: x}]}}", "", "'format' under 'files' is missing"),
        ("{}", "splits: {test: {files: [{format: csv}]}}", "", "'path' under 'files' is missing"),
        (
            "{}",
            "splits: {test: {files: [{path: x, format: pickle}]}}",
            "",
            "'format' under 'files' is 'pickle'",
        ),
        ("{}", "", "files: [x]", "'files' is .* expected keys with values"),
        ("{}", "", "files: {x: y}", "'x' under 'files' is 'y', expected keys with values"),
        ("{}", "", "files: {x: {sha256: 5}}", "'sha256' under 'x' is 5, expected 64 hex digits"),
        ("{}", "", "files: {x: {md5: 5}}", "unknown key 'md5'"),
        ("{}", "", "extra: 1", "unknown key 'extra'"),
    ],
)
def test_every_mapping_is_strict(
    dataset: str, benchmark: str, top: str, message: str, tmp_path: Path
) -> None:
    write(tmp_path, dataset, benchmark, top)
    with pytest.raises(DataError, match=message) as caught:
        register([tmp_path])
    assert "sources.yaml" in str(caught.value)


def test_aliases_cannot_make_a_message_of_any_length(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{name}: &{name} [{', '.join([f'*{above}'] * 10)}]" for above, name in ("ab", "bc", "cd", "de")
    ]
    lines += ["f: &f [" + ", ".join(["*e"] * 10) + "]", "files: [" + ", ".join(["*f"] * 10) + "]"]
    (tmp_path / "sources.yaml").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        register([tmp_path])
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("files:\n  a.csv:\n    sha256: abc\n", 3),
        ("files:\n  a.csv:\n    bytes: 3\n", 2),
        ("files:\n  ../a.csv:\n    sha256: " + "a" * 64 + "\n", 2),
        ("benchmarks:\n  m:\n    schema: essay\n", 3),
        ("benchmarks:\n  m:\n    language: en\n", 2),
        ("benchmarks:\n  m:\n    schema: exam\n    datasets:\n      a: {}\n", 5),
        ("benchmarks:\n  m:\n    schema: exam\n    language: en\n    datasets:\n      A: {}\n", 6),
        ("benchmarks:\n  m:\n    schema: exam\n    hub:\n      id: a/b\n      revision: 1\n", 6),
        ("benchmarks:\n  m:\n    schema: exam\n    title: a\n    title: b\n", 5),
        ("benchmarks:\n  m:\n    schema: exam\n    splits:\n      test:\n        file: x\n", 6),
        ("\n\nbenchmark: {}\n", 3),
        ("files: {}\nbenchmarks: [\n", 3),
    ],
)
def test_faults_are_told_with_their_line(text: str, line: int, tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        register([tmp_path])
    assert caught.value.where == f"{tmp_path / 'sources.yaml'}, line {line}"


@pytest.mark.parametrize("text", ["", "# to be written\n", "files:\nbenchmarks:\n"])
def test_an_empty_register_adds_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_text(text, encoding="utf-8")
    assert register([tmp_path]).datasets == register().datasets
