"""The real benchmark files are read whole: as many documents as they have, faulty rows counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from medbench.data import dataset_names, get_entry, read, resolve, settle
from medbench.data.duplicates import find_duplicates
from medbench.data.fetching import verify
from medbench.data.loading import load
from medbench.data.registry import pinned_files

MMLU = {
    "anatomy": 135,
    "clinical_knowledge": 265,
    "college_biology": 144,
    "college_medicine": 173,
    "medical_genetics": 100,
    "professional_medicine": 272,
    "nutrition": 306,
    "virology": 166,
    "human_aging": 223,
}

# dataset: (test documents, few-shot examples, rows set aside)
COUNTS = {
    "pubmedqa": (500, 500, 0),
    "medqa_us": (1273, 0, 0),
    "medqa_mainland": (3426, 0, 0),
    "medmcqa": (4183, 0, 0),
    "cmb_exam": (2000, 0, 0),
    "cmexam": (6807, 0, 4),
    "cmexam_clinical": (606, 0, 0),
    "mmedbench_zh": (685, 0, 0),
    "mmedbench_en": (635, 0, 0),
    "ceval_basic_medicine": (19, 5, 0),
    "ceval_clinical_medicine": (22, 5, 0),
    "ceval_physician": (49, 5, 0),
    **{f"mmlu_{subject}": (n, 5, 0) for subject, n in MMLU.items()},
    **{name: (5, 5, 0) for name in dataset_names() if name.startswith("promptcblue_")},
}


@pytest.mark.parametrize("dataset", sorted(COUNTS))
def test_counts(dataset: str, shared: Path) -> None:
    source = resolve(dataset, shared / "data")
    reading = read(source)
    test, dev, set_aside = COUNTS[dataset]
    assert {split: len(rows) for split, rows in reading.documents.items() if rows} == {
        split: n for split, n in (("test", test), ("dev", dev)) if n
    }
    assert len(reading.set_aside) == set_aside
    assert source.kind == "folder"
    assert all(file.pinned for file in source.files)
    assert source.notice == ""
    settled = settle(source)
    assert (settled.documents or {}).get("test") == test
    assert (settled.set_aside, bool(settled.notice)) == (set_aside, set_aside > 0)
    assert get_entry(dataset).n == test


def test_sums_over_subjects(shared: Path) -> None:
    def total(prefix: str) -> int:
        # Those with pinned files; agronomy has none here.
        names = [name for name in dataset_names() if name.startswith(prefix) and get_entry(name).n]
        return sum(len(read(resolve(name, shared / "data")).documents["test"]) for name in names)

    core = ("anatomy", "clinical_knowledge", "college_biology", "college_medicine", "medical_genetics")
    assert sum(MMLU[subject] for subject in (*core, "professional_medicine")) == 1089
    assert total("cmmlu_") == 1815
    assert total("ceval_") == 90


def test_cmexam_sets_aside_what_cannot_be_scored(shared: Path) -> None:
    reading = read(resolve("cmexam", shared / "data"))
    skipped = {a.where.rpartition(", ")[2] for a in reading.set_aside if "lettered 'ABDE'" in a.reason}
    assert len(skipped) == 1
    places = {aside.where.rpartition(", ")[2]: aside.reason for aside in reading.set_aside}
    assert set(places) == {"row 5358", "row 5591", "row 5598", *skipped}
    assert places["row 5358"] == "no gold answer"
    assert "lettered 'ABDE'" in places[next(iter(skipped))]
    several = [document for document in reading.documents["test"] if len(document["answer"]) > 1]
    assert len(several) == 210
    assert all(len(document["options"]) in (4, 5) for document in reading.documents["test"])
    assert not any("\\n" in option for d in reading.documents["test"] for option in d["options"])


def test_pubmedqa_is_tested_on_the_official_ids(shared: Path) -> None:
    import json

    official = json.loads(
        (shared / "data" / "pubmedqa" / "test_ground_truth.json").read_text(encoding="utf-8")
    )
    documents = read(resolve("pubmedqa", shared / "data")).documents
    assert {
        d["cluster"]: d["options"][d["letters"].index(d["answer"])] for d in documents["test"]
    } == official
    assert not {d["cluster"] for d in documents["dev"]} & set(official)
    assert all(d["context"] for d in documents["test"])


def test_gold_texts_agree_with_their_letters(shared: Path) -> None:
    import json

    lines = (shared / "data" / "medqa" / "us_4_options_test.jsonl").read_text(encoding="utf-8").splitlines()
    documents = read(resolve("medqa_us", shared / "data")).documents["test"]
    for line, document in zip(lines, documents, strict=True):
        assert (
            document["options"][document["letters"].index(document["answer"])]
            == json.loads(line)["answer"].strip()
        )


def test_options_of_the_xmedbench_form_lose_letter_and_full_stop(shared: Path) -> None:
    for dataset in ("cmb_exam", "medqa_mainland"):
        for document in read(resolve(dataset, shared / "data")).documents["test"]:
            assert not any(option.startswith("(") and option[2:3] == ")" for option in document["options"])


def test_duplicates_are_reported_and_kept(shared: Path) -> None:
    names = ("mmlu_clinical_knowledge", "mmlu_college_medicine", "cmb_exam", "medqa_us", "mmedbench_en")
    readings = {name: read(resolve(name, shared / "data")).documents for name in names}
    found = find_duplicates(readings)
    pairs = [tuple(sorted({name for name, _, _ in duplicate.documents})) for duplicate in found]
    assert pairs.count(("mmlu_clinical_knowledge", "mmlu_college_medicine")) == 83
    assert pairs.count(("cmb_exam",)) == 3
    # MMedBench's English part is a part of MedQA.
    assert (
        pairs.count(("medqa_us", "mmedbench_en")) == 635 or pairs.count(("mmedbench_en", "medqa_us")) == 635
    )
    assert not any(duplicate.leaks for duplicate in found)
    assert len(readings["cmb_exam"]["test"]) == 2000


def test_every_file_equals_its_pin(shared: Path) -> None:
    states = verify(shared / "data", pinned_files().values())
    assert len(states) == 67
    assert {state.state for state in states} == {"ok"}


def test_pins_are_those_of_the_manifest(shared: Path) -> None:
    import json

    pins = pinned_files()
    for line in (shared / "data" / "MANIFEST.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        pin = pins[record["file"]]
        assert (pin.sha256, pin.bytes) == (record["sha256"], record["bytes"])
        assert (pin.repo, pin.commit, pin.upstream_path) == tuple(
            record.get(k) for k in ("repo", "commit", "path")
        )


def test_an_altered_copy_is_noticed(shared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mmlu" / "test"
    folder.mkdir(parents=True)
    real = (shared / "data" / "mmlu" / "test" / "anatomy_test.csv").read_bytes()
    (folder / "anatomy_test.csv").write_bytes(real + b'"One more?",a,b,c,d,A\n')
    source = resolve("mmlu_anatomy", tmp_path)
    assert source.files[0].pinned is False
    assert "differs from the pinned file" in source.notice
    assert len(read(source).documents["test"]) == 136


def test_lm_eval_gets_typed_datasets(shared: Path) -> None:
    splits = load(dataset="promptcblue_meddg", data_dir=shared / "data", version=1.0, main_metric="rouge_l")
    assert set(splits) == {"test", "dev"}
    # MedDG has no labels: the empty lists keep their type.
    assert splits["test"][0]["answer_choices"] == []
    assert splits["test"].features["answer_choices"].feature.dtype == "string"
