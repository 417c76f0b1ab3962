"""Which source is taken, and what is said about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medbench.data import dataset_names, get_entry, load, read, require_any, resolve
from medbench.data.locking import LockEntry, lock_path, read_lock, write_lock
from medbench.data.registry import register
from medbench.data.sources import SAMPLES_NOTICE
from medbench.errors import DataError

DOCUMENT = {"id": "1", "question": "?", "options": ["a", "b"], "answer": "A"}


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MEDBENCH_DATA", "MEDBENCH_LOCK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def folder_with(tmp_path: Path, name: str, *documents: dict[str, Any]) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(exist_ok=True)
    lines = [json.dumps(document) for document in documents]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("dataset", dataset_names())
def test_every_dataset_has_samples(dataset: str) -> None:
    source = resolve(dataset)
    assert source.kind == "samples"
    assert source.notice == SAMPLES_NOTICE
    assert len(read(source).documents["test"]) >= 8
    assert not read(source).set_aside


@pytest.mark.parametrize("dataset", dataset_names())
def test_every_dataset_states_its_terms(dataset: str) -> None:
    entry = get_entry(dataset)
    for value in (entry.licence, entry.citation, entry.homepage, entry.contamination):
        assert value
    assert entry.hub is None or entry.hub.revision_stated
    assert entry.hub is None or entry.hub.revision is None or len(entry.hub.revision) == 40


def test_a_named_folder_goes_before_samples(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "medqa_us.jsonl", DOCUMENT)
    source = resolve("medqa_us", folder)
    assert (source.kind, source.files[0].pinned) == ("folder", None)
    assert source.notice == ""
    assert [d["id"] for d in read(source).documents["test"]] == ["1"]


def test_the_environment_names_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDBENCH_DATA", str(folder_with(tmp_path, "medqa_us.jsonl", DOCUMENT)))
    assert resolve("medqa_us").kind == "folder"
    assert resolve("medqa_us", data_source="samples").kind == "samples"


def test_samples_never_stand_in_for_a_named_folder(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "medqa_us.jsonl", DOCUMENT)
    with pytest.raises(DataError, match=r"mmlu_anatomy[\s\S]*mmlu/test/anatomy_test.csv"):
        resolve("mmlu_anatomy", folder)
    assert resolve("mmlu_anatomy", folder, "folder-or-samples").kind == "samples"


def test_an_empty_folder_is_refused_whatever_may_fill_in(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no file of any dataset") as caught:
        require_any(["medqa_us", "pubmedqa"], tmp_path / "empty")
    assert caught.value.exit_status == 2
    folder = folder_with(tmp_path, "medqa_us.jsonl", DOCUMENT)
    require_any(["medqa_us", "pubmedqa"], folder)
    require_any(["medqa_us"])
    assert resolve("medqa_us", folder).kind == "folder"
    with pytest.raises(DataError, match="no file of the dataset 'pubmedqa'"):
        resolve("pubmedqa", folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset": "medqa"}, "did you mean"),
        ({"dataset": "medqa_us", "data_source": "internet"}, "unknown data source"),
        ({"dataset": "medqa_us", "data_source": "folder"}, "no data folder"),
        ({"dataset": "medqa_us", "data_dir": "nowhere"}, "does not exist"),
        ({"dataset": "cmexam_clinical", "data_source": "hub", "data_dir": None}, None),
    ],
)
def test_wrong_wishes_are_explained(arguments: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert resolve(**arguments).kind == "hub"
        return
    with pytest.raises(DataError, match=message):
        resolve(**arguments)


def test_links_may_not_lead_out(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "other.jsonl", DOCUMENT)
    secret = tmp_path / "secret.jsonl"
    secret.write_text(json.dumps(DOCUMENT), encoding="utf-8")
    (folder / "medqa_us.jsonl").symlink_to(secret)
    with pytest.raises(DataError, match="leads out"):
        resolve("medqa_us", folder)


def test_fingerprints_follow_the_content(tmp_path: Path) -> None:
    first = resolve("medqa_us", folder_with(tmp_path, "medqa_us.jsonl", DOCUMENT)).fingerprint
    assert resolve("medqa_us", tmp_path / "data").fingerprint == first
    folder_with(tmp_path, "medqa_us.jsonl", {**DOCUMENT, "answer": "B"})
    assert resolve("medqa_us", tmp_path / "data").fingerprint != first
    assert resolve("medqa_us").fingerprint != first


def test_a_lock_makes_other_data_speak_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = folder_with(tmp_path, "medqa_us.jsonl", DOCUMENT)
    source = resolve("medqa_us", folder)
    write_lock(lock_path(), [LockEntry("medqa_us", "folder", None, source.fingerprint, {"test": 1})])
    assert resolve("medqa_us", folder).notice == ""
    folder_with(tmp_path, "medqa_us.jsonl", {**DOCUMENT, "question": "??"})
    assert "lock file" in resolve("medqa_us", folder).notice
    load(dataset="medqa_us", data_dir=folder)
    assert "differs from what the lock file recorded" in caplog.text


def test_a_lock_keeps_what_it_had(tmp_path: Path) -> None:
    one = LockEntry("a", "hub", "0" * 40, "f1", {"test": 3})
    two = LockEntry("b", "folder", None, "f2", {"test": 4, "dev": 1})
    path = tmp_path / "lock.json"
    write_lock(path, [one])
    write_lock(path, [two])
    assert read_lock(path) == {"a": one, "b": two}
    path.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="cannot be read"):
        read_lock(path)


class Hub:
    """Stands in for the hub: gives rows, and notes what it was asked for."""

    def __init__(self, rows: dict[str, list[dict[str, Any]]]) -> None:
        self.rows, self.asked = rows, []  # type: ignore[var-annotated]

    def load_dataset(self, path: str, name: str | None, *, split: str, revision: str | None) -> Any:
        self.asked.append((path, name, split, revision))
        return self.rows[split]


def test_the_hub_is_asked_only_when_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    rows = [{"question": "Q?", "subject": "s", "choices": ["a", "b", "c", "d"], "answer": 2}]
    hub = Hub({"test": rows * 1, "dev": [{**rows[0], "question": "E?"}]})
    monkeypatch.setattr(datasets, "load_dataset", hub.load_dataset)
    load(dataset="mmlu_anatomy")
    assert hub.asked == []
    splits = load(dataset="mmlu_anatomy", data_source="hub")
    assert splits["test"][0]["answer"] == "C"
    assert splits["dev"][0]["question"] == "E?"
    assert hub.asked == [("cais/mmlu", "anatomy", "test", None), ("cais/mmlu", "anatomy", "dev", None)]


def test_a_lock_pins_the_revision_of_the_hub() -> None:
    write_lock(lock_path(), [LockEntry("mmlu_virology", "hub", "a" * 40, "f", {"test": 1})])
    assert resolve("mmlu_virology", data_source="hub").revision == "a" * 40


def test_offline_the_hub_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("offline mode is enabled")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(DataError, match=r"offline mode[\s\S]*--data-dir"):
        load(dataset="mmlu_human_aging", data_source="hub")


def test_a_register_from_outside_adds_and_never_replaces(tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    (folder / "samples").mkdir(parents=True)
    shared = "title: T\n    schema: exam\n    language: en\n    licence: L\n    citation: C\n"
    (folder / "sources.yaml").write_text(
        f"benchmarks:\n  mine:\n    {shared}    datasets: {{mine: {{}}}}\n", encoding="utf-8"
    )
    (folder / "samples" / "mine.jsonl").write_text(json.dumps(DOCUMENT) + "\n", encoding="utf-8")
    assert len(load(dataset="mine", tasks_dirs=[folder])["test"]) == 1
    with pytest.raises(DataError, match="no dataset 'mine'"):
        load(dataset="mine")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("benchmark: {}", "unknown key 'benchmark'"),
        ("files: {../x: {sha256: '" + "0" * 64 + "'}}", "leaves the data folder"),
        ("files: {/x: {sha256: '" + "0" * 64 + "'}}", "leaves the data folder"),
        ("files: {x: {sha256: abc}}", "64 hex digits"),
        ("benchmarks: {m: {datasets: {mine: {}}}}", "'schema' under 'm' is missing"),
        ("benchmarks: {m: {schema: exam, language: en, datasets: {Mine: {}}}}", "lower-case"),
        (
            "benchmarks: {m: {schema: exam, language: en, datasets: {mine: {}}, "
            "splits: {test: {files: [{path: a, format: pickle}]}}}}",
            "'format' under 'files' is 'pickle', expected one of",
        ),
        ("benchmarks: [", "cannot be parsed"),
        ("- a", "expected keys"),
    ],
)
def test_faulty_registers_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        register([tmp_path])
