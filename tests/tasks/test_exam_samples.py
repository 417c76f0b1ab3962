"""The bundled exam samples: in the form of each exam, original, and no constant answer favored."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from medbench.data.documents import ANNOTATIONS, EXAM_COLUMNS, LETTERS
from tests.tasks.originality import borrowed

SAMPLES = Path(__file__).resolve().parents[2] / "medbench" / "data" / "samples"

MMLU = (
    *("anatomy", "clinical_knowledge", "college_biology", "college_medicine", "medical_genetics"),
    *("professional_medicine", "nutrition", "virology", "human_aging"),
)
CMMLU = (
    *("anatomy", "clinical_knowledge", "college_medical_statistics", "college_medicine", "genetics"),
    *("nutrition", "professional_medicine", "traditional_chinese_medicine", "virology"),
)
CEVAL = ("basic_medicine", "clinical_medicine", "physician")
WITH_DEV = (
    *(f"mmlu_{subject}" for subject in MMLU),
    *(f"cmmlu_{subject}" for subject in CMMLU),
    *(f"ceval_{subject}" for subject in CEVAL),
)
MULTIPLE = ("cmb_exam", "cmexam", "ple_pharmacy", "ple_tcm")
DATASETS = (
    *("pubmedqa", "medqa_us", "medqa_mainland", "medmcqa", "mmedbench_zh", "mmedbench_en"),
    *WITH_DEV,
    *MULTIPLE,
)
ENGLISH = ("pubmedqa", "medqa_us", "medmcqa", "mmedbench_en", *(f"mmlu_{subject}" for subject in MMLU))


def rows(dataset: str, split: str = "test") -> list[dict[str, Any]]:
    """The sample documents of a split, as they lie in the file."""
    lines = (SAMPLES / f"{dataset}.jsonl").read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row["split"] == split]


def everything(dataset: str) -> list[dict[str, Any]]:
    return rows(dataset) + rows(dataset, "dev")


@pytest.mark.parametrize("dataset", DATASETS)
def test_annotations_are_those_of_the_files(dataset: str) -> None:
    for row in everything(dataset):
        if dataset in ("ple_pharmacy", "ple_tcm"):
            kind = "多项选择题" if len(row["answer"]) > 1 else "最佳选择题"
            assert row[ANNOTATIONS] == {"question_type": kind}
        else:
            assert ANNOTATIONS not in row


@pytest.mark.parametrize("dataset", DATASETS)
def test_documents_are_canonical(dataset: str) -> None:
    found = everything(dataset)
    for row in found:
        assert set(row) - {ANNOTATIONS} == {*EXAM_COLUMNS, "split"}
        assert row["id"].startswith(f"sample-{dataset}-")
        assert row["language"] == ("en" if dataset in ENGLISH else "zh")
        assert row["letters"] == list(LETTERS[: len(row["options"])])
        assert len(set(row["options"])) == len(row["options"]) >= 3
        assert row["answer"]
        assert set(row["answer"]) <= set(row["letters"])
        assert row["answer"] == "".join(sorted(set(row["answer"])))
        for text in (row["question"], row["context"], row["rationale"], *row["options"]):
            assert text == text.strip()
        assert row["question"]
        assert all(row["options"])
    assert len({row["id"] for row in found}) == len(found)
    assert len({row["question"] for row in found}) == len(found)
    assert len(rows(dataset)) >= 8
    assert len(rows(dataset, "dev")) >= (5 if dataset in WITH_DEV else 3)


@pytest.mark.parametrize("dataset", DATASETS)
def test_no_constant_answer_beats_chance(dataset: str) -> None:
    single = [row for row in rows(dataset) if len(row["answer"]) == 1]
    frequencies = Counter(row["answer"] for row in single)
    fewest = min(len(row["options"]) for row in single)
    assert max(frequencies.values()) * fewest <= len(single)
    several = Counter(row["answer"] for row in rows(dataset) if len(row["answer"]) > 1)
    assert all(count == 1 for count in several.values())


@pytest.mark.parametrize("dataset", MULTIPLE)
def test_exams_with_multiple_answers_have_both_kinds(dataset: str) -> None:
    found = rows(dataset)
    assert sum(len(row["answer"]) == 1 for row in found) >= 8
    assert sum(len(row["answer"]) > 1 for row in found) >= 8
    # All options right would make "every letter" a good guess.
    assert all(len(row["answer"]) < len(row["letters"]) for row in found)


def test_each_exam_has_its_form() -> None:
    for row in everything("pubmedqa"):
        assert row["options"] == ["yes", "no", "maybe"]
        assert len(row["context"]) > 200
        assert row["question"].endswith("?")
        assert row["rationale"]
    for dataset in (f"ceval_{subject}" for subject in CEVAL):
        assert all(row["question"].endswith("____") for row in everything(dataset))
    for dataset in ("mmedbench_zh", "mmedbench_en"):
        for row in everything(dataset):
            assert len(row["rationale"]) >= 30
            # The explanation names the letter under which the answer stands now.
            assert row["answer"] in row["rationale"][-40:]
    for dataset in ("medqa_us", "mmedbench_en"):
        assert all(
            "year-old" in row["question"] or "newborn" in row["question"] or "-day-old" in row["question"]
            for row in everything(dataset)
        )
    options = {dataset: {len(row["options"]) for row in rows(dataset)} for dataset in MULTIPLE}
    assert options == {"cmb_exam": {5, 6}, "cmexam": {5}, "ple_pharmacy": {5}, "ple_tcm": {5}}


def test_samples_hold_the_awkward_texts() -> None:
    texts = [row["question"] + "".join(row["options"]) for name in DATASETS for row in everything(name)]
    everywhere = "\n".join(texts)
    for awkward in (
        "ＡＢ",
        "（",
        "“",
        "Ⅱ",
        "₂",
        "³⁺",
        "mmol/L",
        "mm Hg",
        "2/3",
        "hepatitis B",
        "β",
        "%",
        "－",
    ):
        assert awkward in everywhere, awkward
    assert max(map(len, texts)) > 500


@pytest.mark.slow
def test_samples_repeat_no_sentence_of_a_benchmark(shared: Path) -> None:
    chinese: list[str] = []
    english: list[str] = []
    for dataset in DATASETS:
        for row in everything(dataset):
            parts = [row["question"], row["context"], row["rationale"], *row["options"]]
            (english if row["language"] == "en" else chinese).extend(parts)
    assert borrowed(chinese, shared / "data") == set()
    # Long enough to let terms pass, such as "linear deposits along the glomerular basement membrane".
    assert borrowed(english, shared / "data", width=45) == set()
