"""What published files say about their questions is carried along, whatever file it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medbench.data import load
from medbench.data.readers import MAPPINGS, MappingContext
from medbench.data.rows import Row

ABCD = {"A": "a", "B": "b", "C": "c", "D": "d"}
LETTERED = {"question": "Q", "option": ABCD, "answer": "B"}
MEDQA = {"question": "Q", "options": ABCD, "answer_idx": "C"}
MEDMCQA = {"id": "x", "question": "Q", "opa": "a", "opb": "b", "opc": "c", "opd": "d", "cop": 3}
PUBMED = {"key": "7", "QUESTION": "Q", "CONTEXTS": ["c"], "final_decision": "yes", "LONG_ANSWER": "L"}
CMEXAM = {"Question": "Q", "Options": "A a\nB b\nC c", "Answer": "C"}


def _read(mapping: str, values: dict[str, Any], subject: str = "") -> tuple[str, dict[str, str]]:
    document = MAPPINGS[mapping](Row("file, line 7", 3, values), MappingContext("test", "zh", subject, ""))
    assert isinstance(document, dict)
    return document["subject"], document["annotations"]


@pytest.mark.parametrize(
    ("mapping", "values", "said"),
    [
        ("option_by_letter", {**LETTERED, "question_type": "单项选择题"}, {"question_type": "单项选择题"}),
        ("option_by_letter", {**LETTERED, "type": "配伍选择题"}, {"question_type": "配伍选择题"}),
        ("option_by_letter", {**LETTERED, "exam_type": "医师考试"}, {"exam_type": "医师考试"}),
        ("option_by_letter", {**LETTERED, "exam_class": "规培结业"}, {"exam_class": "规培结业"}),
        ("option_by_letter", {**LETTERED, "source": "2023年《法规》"}, {"source": "2023年《法规》"}),
        (
            "option_by_letter",
            {**LETTERED, "question_type": "X", "source": "S", "exam_type": None},
            {"question_type": "X", "source": "S"},
        ),
        ("option_by_letter", {**LETTERED, "question_type": "nan", "source": ""}, {}),
        ("pubmedqa", {**PUBMED, "YEAR": "2011"}, {"year": "2011"}),
        ("pubmedqa", {**PUBMED, "YEAR": None, "reasoning_free_pred": "no"}, {"reasoning_free_pred": "no"}),
        (
            "pubmedqa",
            {**PUBMED, "reasoning_required_pred": "maybe", "reasoning_free_pred": "yes"},
            {"reasoning_free_pred": "yes", "reasoning_required_pred": "maybe"},
        ),
        ("medmcqa", {**MEDMCQA, "choice_type": "single"}, {"question_type": "single"}),
        ("medmcqa", {**MEDMCQA, "topic_name": "AIIMS 2017"}, {"topic": "AIIMS 2017"}),
        ("options_by_letter", {**MEDQA, "human_checked": 1}, {"human_checked": "1"}),
        ("options_by_letter", {**MEDQA, "human_checked": 0}, {"human_checked": "0"}),
        ("cmexam", {**CMEXAM, "Difficulty level": "3"}, {"difficulty": "3"}),
        ("cmexam", {**CMEXAM, "Disease Group": "消化系统"}, {"disease_group": "消化系统"}),
        ("cmexam", CMEXAM, {}),
    ],
)
def test_annotations_of_published_forms(mapping: str, values: dict[str, Any], said: dict[str, str]) -> None:
    assert _read(mapping, values)[1] == said


@pytest.mark.parametrize(
    ("mapping", "values", "of_dataset", "subject"),
    [
        ("option_by_letter", LETTERED, "pharmacy", "pharmacy"),
        ("option_by_letter", {**LETTERED, "exam_subject": "内科"}, "pharmacy", "内科"),
        ("option_by_letter", {**LETTERED, "exam_subject": "内科"}, "", "内科"),
        ("option_by_letter", {**LETTERED, "exam_subject": ""}, "pharmacy", "pharmacy"),
        ("option_by_letter", {**LETTERED, "exam_subject": None}, "pharmacy", "pharmacy"),
        ("option_by_letter", LETTERED, "", ""),
        ("options_by_letter", {**MEDQA, "meta_info": "step1"}, "", "step1"),
        ("medmcqa", {**MEDMCQA, "subject_name": "Surgery"}, "", "Surgery"),
        ("cmexam", {**CMEXAM, "Medical Discipline": "口腔医学"}, "", "口腔医学"),
        ("cmmlu", {"Question": "Q", **ABCD, "Answer": "C"}, "anatomy", "anatomy"),
    ],
)
def test_subjects(mapping: str, values: dict[str, Any], of_dataset: str, subject: str) -> None:
    assert _read(mapping, values, of_dataset)[0] == subject


def test_a_pharmacist_examination_keeps_its_types_and_its_subject(tmp_path: Path) -> None:
    kinds = ["最佳选择题", "配伍选择题", "综合分析选择题", "多项选择题"]
    rows = [
        {**LETTERED, "question": f"Q{i}", "question_type": kind, "source": "2023年《药事管理与法规》"}
        for i, kind in enumerate(kinds)
    ]
    (tmp_path / "ple").mkdir()
    (tmp_path / "ple" / "pharmacy.json").write_text(json.dumps(rows), encoding="utf-8")
    documents = load(dataset="ple_pharmacy", data_dir=str(tmp_path), data_source="folder")["test"]
    assert [row["annotations"]["question_type"] for row in documents] == kinds
    assert {row["annotations"]["source"] for row in documents} == {"2023年《药事管理与法规》"}
    assert {row["subject"] for row in documents} == {"pharmacy"}
