"""Consultations: CHIP-MDCFNPC, the four IMCS-V2 tasks and MedDG.

The form of IMCS-V2 files is described in the repository lemuria-wchen/imcs21-cblue.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from medbench.data.cblue.extraction import entity_lines
from medbench.data.cblue.records import COMMA, Part, Record, lines, rename
from medbench.errors import DataError

_FINDINGS = {
    "阳性": "已有症状疾病或者假设未来可能发生的疾病等",
    "阴性": "未患有症状疾病",
    "其他": "没有回答、不知道、回答不明确或者模棱两可不好推断",
    "不标注": "无实际意义的不标注或者和病人当前的状态独立不标注",
}

IMCS_ENTITIES = {
    "Symptom": "症状",
    "Drug": "具体的药物名称",
    "Drug_Category": "药物类别",
    "Medical_Examination": "医学检查检验",
    "Operation": "医疗操作",
}

_SYMPTOM_STATES = {
    "0": "没有患有该症状",
    "1": "患有该症状",
    "2": "无法根据上下文确定病人是否患有该症状",
}

_TOPICS = {
    "Symptom": "症状",
    "Etiology": "病因",
    "Basic_Information": "个人基本信息",
}
_ADVICE = {
    "Drug_Recommendation": "用药建议",
    "Medical_Advice": "就医建议",
    "Precautions": "注意事项",
}

# The wording depends on the speaker: the doctor asks about findings, the patient asks for advice.
DAC_LABELS = (
    {f"Request-{act}": f"关于{topic}的询问" for act, topic in _TOPICS.items()}
    | {f"Inform-{act}": f"关于{topic}的回答" for act, topic in _TOPICS.items()}
    | {f"Request-{act}": f"关于{topic}的提问" for act, topic in _ADVICE.items()}
    | {f"Inform-{act}": f"关于{topic}的解答" for act, topic in _ADVICE.items()}
    | {
        "Request-Existing_Examination_and_Treatment": "关于已有检查和治疗的提问",
        "Inform-Existing_Examination_and_Treatment": "关于已有检查和治疗的回答",
        "Diagnose": "给出诊断",
        "Other": "非上述类型",
    }
)

_SECTIONS = ("主诉", "现病史", "辅助检查", "既往史", "诊断", "建议")
_HISTORY = 2


def mdcfnpc(records: Sequence[Record], _: random.Random) -> Iterator[Part]:
    """CHIP-MDCFNPC: ``dialog_info`` of ``sender``, ``text``, ``ner`` (``name``, ``attr``)."""
    choices = list(_FINDINGS.values())
    for record in records:
        said: list[str] = []
        states: dict[str, str] = {}
        for turn in record.items("dialog_info"):
            said.append(f"{turn.get('sender')}：{turn.get('text')}")
            for mention in turn.items("ner"):
                # A finding that is mentioned several times has the state of its first mention.
                states.setdefault(mention.get("name"), rename(mention, "attr", _FINDINGS))
        if not states:
            continue
        fields = {
            "INPUT_TEXT": "\n".join(said),
            "LIST_MENTIONS": COMMA.join(states),
            "LIST_LABELS": COMMA.join(choices),
        }
        body = [f"{name}：{state}" for name, state in states.items()]
        yield Part(record.key, fields, lines("上述对话中临床发现实体以及其阴阳性判别如下：", body), choices)


def _turns(record: Record) -> list[Record]:
    """The sentences of a dialogue, each keyed by dialogue and sentence."""
    return [
        turn._replace(key=f"{record.key}-{turn.values.get('sentence_id', number)}")
        for number, turn in enumerate(record.items("dialogue"), start=1)
    ]


def _said(turn: Record) -> str:
    return f"{turn.get('speaker')}：{turn.get('sentence')}"


def _spans(turn: Record) -> list[tuple[str, str]]:
    """Entities of a sentence as (type, text), from its BIO labels, one per character."""
    sentence, labels = turn.get("sentence"), turn.get("BIO_label").split(" ")
    if len(labels) != len(sentence):
        raise DataError(
            f"{len(labels)} labels for {len(sentence)} characters",
            where=turn.where,
            hint="BIO_label holds one label per character, with spaces between",
        )
    found: list[tuple[str, str]] = []
    inside = ""
    for character, label in zip(sentence, labels, strict=True):
        prefix, _, kind = label.partition("-")
        if label != "O" and (prefix not in ("B", "I") or kind not in IMCS_ENTITIES):
            raise DataError(
                f"unknown label {label!r}", where=turn.where, hint=f"B- or I- and {list(IMCS_ENTITIES)}"
            )
        if prefix == "I" and kind == inside and found:
            found[-1] = (kind, found[-1][1] + character)
        elif prefix in ("B", "I"):
            found.append((kind, character))
        inside = kind
    return found


def imcs_ner(records: Sequence[Record], _: random.Random) -> Iterator[Part]:
    """IMCS-V2-NER: one row per sentence, entities from ``BIO_label``; all five types are requested."""
    types = list(IMCS_ENTITIES.values())
    for record in records:
        for turn in _turns(record):
            found = [(IMCS_ENTITIES[kind], text) for kind, text in _spans(turn)]
            fields = {"INPUT_TEXT": turn.get("sentence"), "LIST_LABELS": COMMA.join(types)}
            yield Part(turn.key, fields, entity_lines(found, types), types, record.key)


def dac(records: Sequence[Record], _: random.Random) -> Iterator[Part]:
    """IMCS-V2-DAC: one row per sentence, its ``dialogue_act``; ``Other`` becomes the label never offered."""
    choices = [label for label in DAC_LABELS.values() if label != DAC_LABELS["Other"]]
    for record in records:
        for turn in _turns(record):
            fields = {"INPUT_TEXT": turn.get("sentence"), "LIST_LABELS": COMMA.join(choices)}
            yield Part(turn.key, fields, rename(turn, "dialogue_act", DAC_LABELS), choices, record.key)


def sr(records: Sequence[Record], _: random.Random) -> Iterator[Part]:
    """IMCS-V2-SR: one row per sentence with symptoms, the two before it as history; symptoms as worded."""
    choices = list(_SYMPTOM_STATES.values())
    for record in records:
        turns = _turns(record)
        for number, turn in enumerate(turns):
            symptoms = [text for kind, text in _spans(turn) if kind == "Symptom"]
            states = [str(state) for state in turn.get("symptom_type", list)]
            if len(symptoms) != len(states) or not set(states) <= set(_SYMPTOM_STATES):
                raise DataError(
                    f"{len(symptoms)} symptoms with the states {states}",
                    where=turn.where,
                    hint="symptom_type holds 0, 1 or 2 for each symptom of BIO_label",
                )
            if not symptoms:
                continue
            history = "\n".join(_said(earlier) for earlier in turns[max(0, number - _HISTORY) : number])
            fields = {
                "INPUT_TEXT": f"对话历史：\n{history}\n当前对话：\n{_said(turn)}",
                "LIST_LABELS": COMMA.join(choices),
            }
            body = [f"{text}：{_SYMPTOM_STATES[state]}" for text, state in zip(symptoms, states, strict=True)]
            target = lines("当前对话中的症状及其阴阳性判断为：", body)
            yield Part(turn.key, fields, target, choices, record.key)


def mrg(records: Sequence[Record], _: random.Random) -> Iterator[Part]:
    """IMCS-V2-MRG: one row per dialogue, with the first of its reports."""
    for record in records:
        report = next(record.items("report"), None)
        if report is None:
            raise DataError("the dialogue has no report", where=record.where)
        said = "\n".join(_said(turn) for turn in _turns(record))
        body = [f"{section}：{report.get(section)}" for section in _SECTIONS]
        yield Part(
            record.key,
            {"INPUT_TEXT": f"问诊对话历史：\n{said}"},
            lines("上述问诊对话的诊疗报告如下：", body),
        )


def meddg(records: Sequence[Record], _: random.Random) -> Iterator[Part]:
    """MedDG: dialogues of ``id`` (Patients or Doctor) and ``Sentence``; one row per reply of the doctor."""
    for record in records:
        history: list[str] = []
        for number, turn in enumerate(record.items("dialogue"), start=1):
            doctor = turn.get("id") == "Doctor"
            sentence = turn.get("Sentence")
            if doctor and history:
                fields = {"INPUT_TEXT": "\n".join(history)}
                yield Part(f"{record.key}-{number}", fields, sentence, None, record.key)
            history.append(f"{'医生' if doctor else '患者'}：{sentence}")
