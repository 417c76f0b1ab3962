"""What only a whole file, two files or a register can show: numbering, labels that disagree, all faults."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medbench.data import load, read, resolve, settle
from medbench.data.duplicates import find_repeated_options
from medbench.data.loading import faults_in
from medbench.data.registry import get_entry, readable_register
from medbench.errors import DataError

MEDMCQA = {"question": "Q", "opa": "a", "opb": "b", "opc": "c", "opd": "d", "exp": None}
DOCUMENT = {"question": "Which?", "options": ["a", "b"], "answer": "A"}


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MEDBENCH_DATA", "MEDBENCH_LOCK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def lines(path: Path, *records: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def medmcqa(folder: Path, *rows: tuple[object, str | None]) -> Any:
    records = [{**MEDMCQA, "id": str(n), "cop": cop, "exp": exp} for n, (cop, exp) in enumerate(rows)]
    lines(folder / "medmcqa" / "dev.json", *records)
    return read(resolve("medmcqa", folder))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(2, None)], "counts from 1"),
        ([(1, None), (2, None), (3, None)], "counts from 1"),
        ([(3, None)] * 20, "counts from 1"),
        ([(2, "Because.")], "counts from 1"),
        ([(2, "Ans. is 'c' i.e., c")], "explanation begins"),
        ([(1, None), (3, "Ans. is 'd'")], "explanation begins"),
        ([(2, "Answer: C. Because")], "explanation begins"),
        ([(0, None), (2, None)], "outside the options"),
        ([(0, "Ans. is 'a'"), (3, None)], "outside the options"),
        ([(4, None), (5, None)], "outside the options"),
        ([(4, None), (2.9, None)], "not a number"),
    ],
)
def test_rows_numbered_from_zero_are_not_taken_for_the_published_file(
    rows: list[tuple[object, str | None]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        medmcqa(tmp_path, *rows)
    assert "dev.json, line" in str(caught.value.where)


@pytest.mark.parametrize(
    ("rows", "gold"),
    [
        ([(4, None), (1, None)], "DA"),
        ([(2, "Ans. is 'b' i.e., b"), (1, None)], "BA"),
        ([(1, "Ans. (a)"), (3, None)], "AC"),
    ],
)
def test_rows_that_bear_their_numbering_out_are_read(
    rows: list[tuple[object, str | None]], gold: str, tmp_path: Path
) -> None:
    assert "".join(document["answer"] for document in medmcqa(tmp_path, *rows).documents["test"]) == gold


def pubmedqa(folder: Path, keys: str, **decisions: str) -> Any:
    records = {
        key: {"QUESTION": "Q?", "CONTEXTS": ["C"], "final_decision": d} for key, d in decisions.items()
    }
    (folder / "pubmedqa").mkdir()
    (folder / "pubmedqa" / "ori_pqal.json").write_text(json.dumps(records), encoding="utf-8")
    (folder / "pubmedqa" / "test_ground_truth.json").write_text(keys, encoding="utf-8")
    return resolve("pubmedqa", folder)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ('{"1": "no"}', "final_decision is 'yes', but test_ground_truth.json says 'no'"),
        ('{"1": "maybe", "2": "no"}', "final_decision is 'yes'"),
        ('{"2": "yes"}', "final_decision is 'no'"),
        ('{"1": ""}', "final_decision is 'yes'"),
        ('{"1": "yes", "1": "yes"}', "'1' is written twice"),
        ('{"1": "yes", "3": "no"}', "1 listed records are missing, the first is '3'"),
        ('"1"', "expected a JSON list"),
        ("{", "not JSON"),
    ],
)
def test_labels_in_two_files_must_agree(keys: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(pubmedqa(tmp_path, keys, **{"1": "yes", "2": "no"}))


@pytest.mark.parametrize("keys", ['{"1": "yes"}', '{"1": "Yes "}', '{"1": null}', '["1"]', "[1]"])
def test_labels_that_agree_and_mere_lists_divide_a_file(keys: str, tmp_path: Path) -> None:
    documents = read(pubmedqa(tmp_path, keys, **{"1": "yes", "2": "no"})).documents
    assert [d["cluster"] for d in documents["test"]] == ["1"]
    assert [d["cluster"] for d in documents["dev"]] == ["2"]


def test_a_file_of_both_splits_is_named_once(tmp_path: Path) -> None:
    notice = settle(pubmedqa(tmp_path, '["1"]', **{"1": "yes", "2": "no"})).notice
    assert notice.count("ori_pqal.json") == 1
    assert notice.startswith("differs from the pinned file")


def test_all_faults_are_told_at_once_and_each_once(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{**DOCUMENT, "id": str(n)} for n in range(8)]
    rows[1]["answer"] = "C"
    rows[3]["split"] = "tset"
    rows[4] |= {"id": "0", "question": "Another?"}
    rows[6]["options"] = ["a", None]
    lines(tmp_path / "data" / "medqa_us.jsonl", *rows)
    source = resolve("medqa_us", tmp_path / "data")
    found = {str(error.where)[-6:]: error.what for error in faults_in(source)}
    assert list(found) == ["line 2", "line 4", "line 7", "line 5"]
    assert "outside" in found["line 2"]
    assert "split" in found["line 4"]
    assert "empty" in found["line 7"]
    assert "occurs twice" in found["line 5"]
    with pytest.raises(DataError, match="outside the options"):
        read(source)


@pytest.mark.parametrize(
    ("faulty", "pinned", "told"), [(2, True, 0), (3, True, 3), (1, False, 1), (1, None, 1)]
)
def test_the_few_faults_of_a_published_file_are_not_told(
    faulty: int, pinned: bool | None, told: int, tmp_path: Path
) -> None:
    rows: list[dict[str, Any]] = [{**DOCUMENT, "id": str(n)} for n in range(200)]
    for row in rows[:faulty]:
        row["options"] = ["a", None]
    lines(tmp_path / "medqa_us.jsonl", *rows)
    source = resolve("medqa_us", tmp_path)
    files = tuple(replace(file, pinned=pinned) for file in source.files)
    assert len(faults_in(replace(source, files=files))) == told


def test_a_file_that_cannot_be_parsed_is_one_fault(tmp_path: Path) -> None:
    (tmp_path / "medqa_us.jsonl").write_text("{\n", encoding="utf-8")
    assert ["not JSON" in error.what for error in faults_in(resolve("medqa_us", tmp_path))] == [True]


def test_rows_set_aside_are_explained_when_none_is_left(tmp_path: Path) -> None:
    lines(tmp_path / "medqa_us.jsonl", {**DOCUMENT, "id": "1", "answer": None})
    with pytest.raises(DataError, match=r"\(1 rows were set aside: no gold answer\)"):
        read(resolve("medqa_us", tmp_path))


def test_annotations_reach_lm_eval_with_the_same_names_in_every_document(tmp_path: Path) -> None:
    first = {**DOCUMENT, "id": "1", "annotations": {"ward": "7"}}
    second = {**DOCUMENT, "id": "2", "question": "Who?", "annotations": {"year": 2024}}
    example = {**DOCUMENT, "id": "3", "question": "When?", "split": "dev"}
    lines(tmp_path / "medqa_us.jsonl", first, second, example)
    splits = load(dataset="medqa_us", data_dir=tmp_path, circular=True)
    assert splits["test"][0]["annotations"] == {"ward": "7", "year": ""}
    assert splits["test"][3]["annotations"] == {"ward": "", "year": "2024"}
    assert splits["dev"][0]["annotations"] == {"ward": "", "year": ""}
    assert "annotations" not in load(dataset="medqa_us", data_source="samples")["test"].features


def test_options_alike_are_found() -> None:
    def document(number: int, answer: str, *options: str) -> dict[str, Any]:
        letters = list("ABCDE"[: len(options)])
        return {"id": str(number), "letters": letters, "options": list(options), "answer": answer}

    documents = [
        document(1, "A", "a", "b", "c"),
        document(2, "A", "a", "b", "a "),
        document(3, "B", "Iron", "b", "iron", "d"),
        document(4, "C", "x", "y", "y", "x"),
        {"id": "5", "input": "I", "target": "T"},
    ]
    found = find_repeated_options({"d": {"test": documents}})
    assert [(one.document, one.letters, one.gold) for one in found] == [
        (("d", "test", "2"), "AC", True),
        (("d", "test", "3"), "AC", False),
        (("d", "test", "4"), "ABCD", True),
    ]


SOUND = "benchmarks: {m: {schema: exam, language: en, datasets: {NAME: {}}}}"
FAULTY = [
    "benchmarks: [",
    "benchmark: {}",
    "- a",
    SOUND.replace("NAME: {}", "Mine: {}"),
    SOUND.replace("NAME: {}", "one: {}, one: {}"),
    SOUND.replace("schema: exam", "schema: exam, schema: exam"),
    SOUND.replace("NAME: {}", "one: {subject: no}"),
    SOUND.replace("schema: exam", "schema: exam, title: NO"),
    SOUND.replace("schema: exam, ", ""),
    SOUND.replace("NAME", "no"),
]


@pytest.mark.parametrize("text", FAULTY)
def test_one_faulty_register_hides_no_other(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, content in (("bad", text), ("good", SOUND.replace("NAME", "mine"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "sources.yaml").write_text(content, encoding="utf-8")
    with caplog.at_level(logging.WARNING, logger="medbench.data"):
        found = readable_register([tmp_path])
    assert "mine" in found.datasets
    assert len(found.faults) == 1
    assert "a register of datasets is left out" in caplog.text
    assert get_entry("mine", [tmp_path]).key == "mine"
    with pytest.raises(DataError, match="and a register of datasets cannot be read") as caught:
        get_entry("one", [tmp_path])
    assert "bad" in str(caught.value.where)


def test_a_name_that_two_registers_give_means_neither(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        text = SOUND.replace("NAME: {}", f"mine: {{}}, only_{name}: {{}}")
        (tmp_path / name / "sources.yaml").write_text(text, encoding="utf-8")
    assert get_entry("only_b", [tmp_path]).key == "only_b"
    assert get_entry("medqa_us", [tmp_path]).benchmark == "medqa"
    with pytest.raises(DataError, match="'mine' exists already"):
        get_entry("mine", [tmp_path])
