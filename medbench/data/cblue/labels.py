"""One label for a text or a pair of texts: CHIP-CTC, KUAKE-QIC, CHIP-STS, KUAKE-QTR."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from medbench.data.cblue.records import COMMA, Part, Record, rename

_OTHER = "非上述类型"

CTC_LABELS = {
    "Disease": "疾病",
    "Symptom": "症状(患者感受)",
    "Sign": "体征(医生检测）",  # the bracket is full-width in PromptCBLUE
    "Pregnancy-related Activity": "怀孕相关",
    "Neoplasm Status": "肿瘤进展",
    "Non-Neoplasm Disease Stage": "疾病分期",
    "Allergy Intolerance": "过敏耐受",
    "Organ or Tissue Status": "器官组织状态",
    "Life Expectancy": "预期寿命",
    "Oral related": "口腔相关",
    "Pharmaceutical Substance or Drug": "药物",
    "Therapy or Surgery": "治疗或手术",
    "Device": "设备",
    "Nursing": "护理",
    "Diagnostic": "诊断",
    "Laboratory Examinations": "实验室检查",
    "Risk Assessment": "风险评估",
    "Receptor Status": "受体状态",
    "Age": "年龄",
    "Special Patient Characteristic": "特殊病人特征",
    "Literacy": "读写能力",
    "Gender": "性别",
    "Education": "教育情况",
    "Address": "居住情况",
    "Ethnicity": "种族",
    "Consent": "知情同意",
    "Enrollment in other studies": "参与其它试验",
    "Researcher Decision": "研究者决定",
    "Capacity": "能力",
    "Ethical Audit": "伦理审查",
    "Compliance with Protocol": "依存性",
    "Addictive Behavior": "成瘾行为",
    "Bedtime": "睡眠",
    "Exercise": "锻炼",
    "Diet": "饮食",
    "Alcohol Consumer": "酒精使用",
    "Sexual related": "性取向",
    "Smoking Status": "吸烟状况",
    "Blood Donation": "献血",
    "Encounter": "病例来源",
    "Disabilities": "残疾群体",
    "Healthy": "健康群体",
    "Data Accessible": "数据可及性",
    "Multiple": "含有多类别的语句",
}

QIC_LABELS = {
    label: label
    for label in (
        "病情诊断",
        "治疗方案",
        "病因分析",
        "指标解读",
        "就医建议",
        "疾病表述",
        "后果表述",
        "注意事项",
        "功效作用",
        "医疗费用",
    )
} | {"其他": _OTHER}

_STS_LABELS = {"1": "是的", "0": "不是"}

QTR_LABELS = {
    "0": "完全不匹配或者没有参考价值",
    "1": "很少匹配有一些参考价值",
    "2": "部分匹配",
    "3": "完全匹配",
}


def ctc(records: Sequence[Record], _: random.Random) -> Iterator[Part]:
    """CHIP-CTC: ``text`` and an English ``label``; all 44 categories are offered."""
    choices = list(CTC_LABELS.values())
    for record in records:
        fields = {"INPUT_TEXT": record.get("text"), "LIST_LABELS": COMMA.join(choices)}
        yield Part(record.key, fields, rename(record, "label", CTC_LABELS), choices)


def qic(records: Sequence[Record], _: random.Random) -> Iterator[Part]:
    """KUAKE-QIC: ``query`` and a Chinese ``label``; ``其他`` becomes the label that is never offered."""
    choices = [label for label in QIC_LABELS.values() if label != _OTHER]
    for record in records:
        fields = {"INPUT_TEXT": record.get("query"), "LIST_LABELS": COMMA.join(choices)}
        yield Part(record.key, fields, rename(record, "label", QIC_LABELS), choices)


def sts(records: Sequence[Record], _: random.Random) -> Iterator[Part]:
    """CHIP-STS: ``text1``, ``text2`` and ``label`` 1 for the same meaning."""
    choices = list(_STS_LABELS.values())
    for record in records:
        fields = {
            "INPUT_TEXT_1": record.get("text1"),
            "INPUT_TEXT_2": record.get("text2"),
            "LIST_LABELS": COMMA.join(choices),
        }
        yield Part(record.key, fields, rename(record, "label", _STS_LABELS), choices)


def qtr(records: Sequence[Record], _: random.Random) -> Iterator[Part]:
    """KUAKE-QTR: ``query``, ``title`` and ``label`` 0 to 3."""
    choices = list(QTR_LABELS.values())
    for record in records:
        fields = {
            "INPUT_TEXT_1": record.get("query"),
            "INPUT_TEXT_2": record.get("title"),
            "LIST_LABELS": COMMA.join(choices),
        }
        yield Part(record.key, fields, rename(record, "label", QTR_LABELS), choices)
