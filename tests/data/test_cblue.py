"""Raw CBLUE records, written here in the published form, become official rows that score as gold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from medbench.data.cblue import CONVERTIBLE, NOT_CONVERTIBLE, convert, read_templates, write_rows
from medbench.data.cblue.dialogues import DAC_LABELS, IMCS_ENTITIES
from medbench.data.cblue.labels import CTC_LABELS, QIC_LABELS, QTR_LABELS
from medbench.errors import DataError

TEMPLATES: Mapping[str, Sequence[str]] = dict.fromkeys(
    ("CMeEE-V2", "CMeIE", "CHIP-CDN", "CHIP-CTC", "KUAKE-QIC", "IMCS-V2-DAC", "IMCS-V2-NER", "IMCS-V2-SR"),
    ("甲：\n[INPUT_TEXT]\n选项：[LIST_LABELS]\n答：", "乙：\n[INPUT_TEXT]\n[LIST_LABELS]\n答："),
) | {
    "CHIP-CDEE": ("[INPUT_TEXT]",),
    "CHIP-STS": ("“[INPUT_TEXT_1]”，“[INPUT_TEXT_2]”",),
    "KUAKE-QTR": ("“[INPUT_TEXT_1]”，“[INPUT_TEXT_2]”\n[LIST_LABELS]",),
    "CHIP-MDCFNPC": ("[INPUT_TEXT]\n[LIST_MENTIONS]\n[LIST_LABELS]",),
    "IMCS-V2-MRG": ("[INPUT_TEXT]\n答：",),
    "MedDG": ("[INPUT_TEXT]\n答：",),
}

DIALOGUE = {
    "77": {
        "dialogue": [
            {
                "sentence_id": "1",
                "speaker": "患者",
                "sentence": "有点咳嗽，没发烧",
                "BIO_label": "O O B-Symptom I-Symptom O O B-Symptom I-Symptom",
                "symptom_norm": ["咳嗽", "发热"],
                "symptom_type": ["1", "0"],
                "dialogue_act": "Inform-Symptom",
            },
            {
                "sentence_id": "2",
                "speaker": "医生",
                "sentence": "查血常规吧",
                "BIO_label": "O B-Medical_Examination I-Medical_Examination I-Medical_Examination O",
                "symptom_norm": [],
                "symptom_type": [],
                "dialogue_act": "Inform-Medical_Advice",
            },
            {
                "sentence_id": "3",
                "speaker": "患者",
                "sentence": "谢谢",
                "BIO_label": "O O",
                "symptom_norm": [],
                "symptom_type": [],
                "dialogue_act": "Other",
            },
        ],
        "report": [
            {
                "主诉": "咳嗽",
                "现病史": "咳嗽",
                "辅助检查": "无",
                "既往史": "不详",
                "诊断": "感冒",
                "建议": "验血",
            }
        ],
    }
}

RAW: dict[str, Any] = {
    "CMeEE-V2": [
        {
            "text": "胃炎可致腹痛，胃镜可见",
            "entities": [
                {"start_idx": 0, "end_idx": 2, "type": "dis", "entity": "胃炎"},
                {"start_idx": 4, "end_idx": 6, "type": "sym", "entity": "腹痛"},
                {"start_idx": 7, "end_idx": 9, "type": "pro", "entity": "胃镜"},
                {"start_idx": 0, "end_idx": 1, "type": "bod", "entity": "胃"},
            ],
        },
        {"text": "无实体", "entities": []},
    ],
    "CMeIE": [
        {
            "text": "流感可致发热",
            "spo_list": [
                {
                    "subject": "流感",
                    "predicate": "临床表现",
                    "object": {"@value": "发热"},
                    "object_type": {"@value": "症状"},
                }
            ],
        },
        {
            "text": "流感又称流行性感冒",
            "spo_list": [{"subject": "流感", "predicate": "同义词", "object": {"@value": "流行性感冒"}}],
        },
    ],
    "CHIP-CDN": [
        {"text": "双肾囊肿，高血压", "normalized_result": "肾囊肿##高血压"},
        {"text": "糖尿病？", "normalized_result": "糖尿病"},
        {"text": "不明", "normalized_result": ""},
        {"text": "胃溃疡", "normalized_result": "胃溃疡"},
    ],
    "CHIP-CDEE": [
        {
            "text": "无发热，右下腹阵发性疼痛",
            "event": [
                {"core_name": "发热", "tendency": "否定", "character": [], "anatomy_list": []},
                {"core_name": "疼痛", "tendency": "", "character": ["阵发性"], "anatomy_list": ["右下腹"]},
            ],
        }
    ],
    "CHIP-STS": [{"id": "9", "text1": "感冒怎么办", "text2": "感冒了如何处理", "label": "1"}],
    "CHIP-CTC": [{"id": "s1", "label": "Age", "text": "年龄18岁以上"}],
    "KUAKE-QIC": [
        {"id": "q1", "query": "头痛是什么病", "label": "病情诊断"},
        {"id": "q2", "query": "你好", "label": "其他"},
    ],
    "KUAKE-QTR": [{"id": "r1", "query": "发烧", "title": "发热怎么办", "label": "2"}],
    "CHIP-MDCFNPC": [
        {
            "dialog_id": "d1",
            "dialog_info": [
                {
                    "sentence_id": "1",
                    "sender": "患者",
                    "text": "我头晕",
                    "ner": [{"mention": "头晕", "name": "头晕", "attr": "阳性"}],
                },
                {
                    "sentence_id": "2",
                    "sender": "医生",
                    "text": "有发热吗？",
                    "ner": [{"mention": "发热", "name": "发热", "attr": "其他"}],
                },
            ],
        }
    ],
    "IMCS-V2-DAC": DIALOGUE,
    "IMCS-V2-NER": DIALOGUE,
    "IMCS-V2-SR": DIALOGUE,
    "IMCS-V2-MRG": DIALOGUE,
    "MedDG": [
        [
            {"id": "Patients", "Sentence": "肚子痛"},
            {"id": "Doctor", "Sentence": "多久了？"},
            {"id": "Patients", "Sentence": "两天"},
            {"id": "Doctor", "Sentence": "先喝温水"},
        ]
    ],
}

TARGETS = {
    "CMeEE-V2": (
        "上述句子中的实体包含：\n"
        "疾病实体：胃炎\n"
        "临床表现实体：腹痛\n"
        "医疗程序实体：胃镜\n"
        "医疗设备实体：\n"
        "药物实体：\n"
        "医学检验项目实体：\n"
        "身体部位实体：胃\n"
        "医院科室实体：\n"
        "微生物类实体："
    ),
    "CMeIE": (
        "具有临床表现关系的头尾实体对如下：头实体为流感，尾实体为发热。\n具有同义词关系的头尾实体对如下："
    ),
    "CHIP-CDN": "肾囊肿，高血压",
    "CHIP-CDEE": (
        "上述句子中的临床发现事件如下：\n"
        "主体词：发热；发生状态：否定；描述词：；解剖部位：\n"
        "主体词：疼痛；发生状态：；描述词：阵发性；解剖部位：右下腹"
    ),
    "CHIP-STS": "是的",
    "CHIP-CTC": "年龄",
    "KUAKE-QIC": "病情诊断",
    "KUAKE-QTR": "部分匹配",
    "CHIP-MDCFNPC": (
        "上述对话中临床发现实体以及其阴阳性判别如下：\n"
        "头晕：已有症状疾病或者假设未来可能发生的疾病等\n"
        "发热：没有回答、不知道、回答不明确或者模棱两可不好推断"
    ),
    "IMCS-V2-DAC": "关于症状的回答",
    "IMCS-V2-NER": (
        "上述句子中的实体包含：\n"
        "症状实体：咳嗽，发烧\n"
        "具体的药物名称实体：\n"
        "药物类别实体：\n"
        "医学检查检验实体：\n"
        "医疗操作实体："
    ),
    "IMCS-V2-SR": ("当前对话中的症状及其阴阳性判断为：\n咳嗽：患有该症状\n发烧：没有患有该症状"),
    "IMCS-V2-MRG": (
        "上述问诊对话的诊疗报告如下：\n"
        "主诉：咳嗽\n"
        "现病史：咳嗽\n"
        "辅助检查：无\n"
        "既往史：不详\n"
        "诊断：感冒\n"
        "建议：验血"
    ),
    "MedDG": "多久了？",
}


def raw_file(tmp_path: Path, task: str, *, as_lines: bool = False) -> Path:
    path = tmp_path / f"{task}_dev.json"
    content = RAW[task]
    if as_lines:
        text = "\n".join(json.dumps(record, ensure_ascii=False) for record in content)
    else:
        text = json.dumps(content, ensure_ascii=False)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("task", CONVERTIBLE)
def test_targets_have_the_official_form(task: str, tmp_path: Path) -> None:
    rows = convert(raw_file(tmp_path, task), task, TEMPLATES)
    assert rows[0]["target"] == TARGETS[task]
    assert rows[0]["task_dataset"] == task
    assert len({row["sample_id"] for row in rows}) == len(rows)
    assert all("[" not in row["input"] for row in rows)


@pytest.mark.parametrize("task", CONVERTIBLE)
def test_converted_rows_score_as_gold(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the task itself: the rows are found in a data folder, and their targets are read back."""
    from medbench.catalog import build_index
    from medbench.checks.oracles import GoldLM
    from medbench.runs.harness import evaluate_task, quiet_harness
    from medbench.runs.loading import load_tasks
    from medbench.runs.settings import RunSettings

    name = f"promptcblue_{task.lower().replace('-', '_')}"
    rows = convert(raw_file(tmp_path, task), task, TEMPLATES)
    write_rows(tmp_path / "data" / "promptcblue" / f"{task}.jsonl", rows)
    monkeypatch.delenv("MEDBENCH_DATA", raising=False)
    settings = RunSettings(data_dir=str(tmp_path / "data"))
    index = build_index()
    with quiet_harness():
        tasks, failures = load_tasks([index.tasks[name]], settings)
        assert not failures
        result = evaluate_task(
            GoldLM(tasks[name], 0), tasks[name], settings, chat_template=False, system=None
        )
    assert len(result.samples) == len(rows)
    assert result.results["results"][name][f"{index.tasks[name].main_metric},none"] == pytest.approx(
        1.0, abs=1e-6
    )


def test_every_task_is_either_convertible_or_explained() -> None:
    assert len(CONVERTIBLE) + len(NOT_CONVERTIBLE) == 16
    for task in NOT_CONVERTIBLE:
        with pytest.raises(DataError, match="cannot be converted"):
            convert("nowhere.json", task, TEMPLATES)
    with pytest.raises(DataError, match="unknown PromptCBLUE task"):
        convert("nowhere.json", "CMeEE", TEMPLATES)


def test_wordings_follow_the_seed(tmp_path: Path) -> None:
    RAW["many"] = [{"id": str(n), "label": "Age", "text": f"条件{n}"} for n in range(40)]
    path = raw_file(tmp_path, "many")
    first = convert(path, "CHIP-CTC", TEMPLATES, seed=1)
    assert convert(path, "CHIP-CTC", TEMPLATES, seed=1) == first
    assert convert(path, "CHIP-CTC", TEMPLATES, seed=2) != first
    assert {row["input"][0] for row in first} == {"甲", "乙"}


def test_json_lines_are_read_as_well(tmp_path: Path) -> None:
    lines = convert(raw_file(tmp_path, "CMeIE", as_lines=True), "CMeIE", TEMPLATES)
    assert lines == convert(raw_file(tmp_path, "CMeIE"), "CMeIE", TEMPLATES)


def test_texts_with_brackets_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "raw.json"
    path.write_text(json.dumps([{"id": "1", "label": "Age", "text": "见[LIST_LABELS]"}]), encoding="utf-8")
    assert "见[LIST_LABELS]" in convert(path, "CHIP-CTC", TEMPLATES)[0]["input"]


def test_candidates_hold_the_right_terms_and_others(tmp_path: Path) -> None:
    for row in convert(raw_file(tmp_path, "CHIP-CDN"), "CHIP-CDN", TEMPLATES):
        right = [] if row["target"] == "没有对应的标准化实体" else row["target"].split("，")
        assert set(right) <= set(row["answer_choices"])
        assert len(set(row["answer_choices"])) == len(row["answer_choices"])
        assert len(row["answer_choices"]) > len(right)


@pytest.mark.parametrize(
    ("task", "content", "message"),
    [
        ("CMeEE-V2", [{"text": "x"}], "'entities' is missing"),
        ("CMeEE-V2", [{"text": "x", "entities": [{"type": "xyz", "entity": "x"}]}], "unknown label 'xyz'"),
        ("CMeEE-V2", [{"text": "x", "entities": ["x"]}], "str where an object"),
        ("CHIP-CTC", [{"text": "x", "label": "Agee"}], "unknown label 'Agee'"),
        ("CHIP-STS", [{"text1": "x", "label": "1"}], "'text2' is missing"),
        (
            "IMCS-V2-NER",
            {"1": {"dialogue": [{"sentence": "xy", "BIO_label": "O"}]}},
            "1 labels for 2 characters",
        ),
        ("IMCS-V2-NER", {"1": {"dialogue": [{"sentence": "x", "BIO_label": "B-X"}]}}, "unknown label 'B-X'"),
        ("IMCS-V2-MRG", {"1": {"dialogue": [], "report": []}}, "no report"),
        ("MedDG", [], "no records"),
        ("MedDG", "x", "neither JSON|list or an object"),
        ("MedDG", [1], "int where an object"),
    ],
)
def test_foreign_files_are_refused_with_their_record(
    task: str, content: Any, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "raw.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        convert(path, task, TEMPLATES)
    assert "raw.json" in str(caught.value)


def test_official_templates_and_labels(shared: Path) -> None:
    folder = shared / "data" / "promptcblue"
    templates = read_templates(folder / "templates.json")
    assert set(templates) == {*CONVERTIBLE, *NOT_CONVERTIBLE}
    assert not any("\\n" in text for texts in templates.values() for text in texts)
    offered: dict[str, set[str]] = {}
    for split in ("train", "dev"):
        for line in (folder / "toy_examples" / f"{split}.json").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            offered.setdefault(row["task_dataset"], set()).update(row["answer_choices"] or ())
    assert offered["CHIP-CTC"] <= set(CTC_LABELS.values())
    assert offered["KUAKE-QTR"] == set(QTR_LABELS.values())
    assert offered["IMCS-V2-NER"] == set(IMCS_ENTITIES.values())
    assert offered["IMCS-V2-DAC"] <= set(DAC_LABELS.values())
    # Official rows call one intent by either of two names.
    assert offered["KUAKE-QIC"] - {"疾病描述"} <= set(QIC_LABELS.values())


def test_every_official_template_can_be_filled(shared: Path, tmp_path: Path) -> None:
    templates = read_templates(shared / "data" / "promptcblue" / "templates.json")
    for task in CONVERTIBLE:
        path = raw_file(tmp_path, task)
        for wording in templates[task]:
            for row in convert(path, task, {task: [wording]}):
                assert "[INPUT" not in row["input"]
                assert "[LIST" not in row["input"]


@pytest.mark.parametrize("text", ["[]", '{"a": []}', '{"a": [1]}', "{"])
def test_what_is_no_template_file_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "templates.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError):
        read_templates(path)
