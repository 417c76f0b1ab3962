"""Reading the structure out of a PromptCBLUE answer.

The readings are the official ones and as strict: a half-width colon, a missing first line or a polite
preamble costs exactly what it costs there. Reasoning, which the official readers do not know, is cut first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from medbench.errors import ScoringError
from medbench.scoring.reasoning import parts

__all__ = ["DATASETS", "SECTIONS", "Record", "Structure", "parse"]

Record: TypeAlias = dict[str, str | list[str]]
"""One entity, triple, event or attribute."""

Structure: TypeAlias = list[Record] | dict[str, str] | str
"""What an answer says: records (extraction), sections (reports), or a text (labels, replies)."""

SECTIONS = ("主诉", "现病史", "辅助检查", "既往史", "诊断", "建议")
"""The sections of an IMCS-V2-MRG report."""

_EVENT_TEXTS = ("主体词", "发生状态")
_EVENT_LISTS = ("描述词", "解剖部位")
# The order in which the official reader tries the fields of an event.
_EVENT_FIELDS = ("主体词", "发生状态", "描述词", "解剖部位")
_SYNONYMS = {"相同": "是的", "不同": "不是"}


def parse(task_dataset: str, text: str, answer_choices: Sequence[str] | None = None) -> Structure:
    """Read an answer, or a target, as the official scorer does.

    Args:
        task_dataset: The dataset, such as ``"CMeEE-V2"``; one of :data:`DATASETS`.
        text: The response.
        answer_choices: The types, labels or candidates that the document offers.

    Returns:
        A list of records, a dictionary of sections, or a string, according to the dataset.

    Raises:
        ScoringError: The dataset is not one of PromptCBLUE's.
    """
    reader = _READERS.get(task_dataset)
    if reader is None:
        raise ScoringError(
            f"{task_dataset!r} is not a PromptCBLUE dataset",
            where="task_dataset",
            hint=f"use one of {', '.join(DATASETS)}",
        )
    return reader(parts(text).answer, answer_choices or ())


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split("，") if part.strip()]


def _entities(text: str, choices: Sequence[str]) -> list[Record]:
    """Read lines ``{type}实体：a，b``, type by type in the order of the choices."""
    lines = text.split("\n")
    return [
        {"entity": entity, "type": choice}
        for choice in choices
        for line in lines
        if line.startswith(f"{choice}实体")
        for entity in _split(line.replace(f"{choice}实体：", ""))
    ]


def _triples(text: str, choices: Sequence[str]) -> list[Record]:
    """Read lines ``具有{predicate}关系的头尾实体对如下：头实体为X，尾实体为Y。…``."""
    triples: list[Record] = []
    for line in text.split("\n"):
        # The relation is not compared with the choices, and the first two characters are dropped unread.
        predicate = line.split("关系的头尾实体对", 1)[0][2:].strip()
        for pair in line.replace(f"具有{predicate}关系的头尾实体对如下：", "").split("。"):
            parts = pair.split("，尾实体为")
            if len(parts) >= 2:
                subject = parts[0].replace("头实体为", "").strip()
                target = parts[1].replace("尾实体为", "").strip()
                triples.append({"predicate": predicate, "subject": subject, "object": target})
    return triples


def _candidates(text: str, choices: Sequence[str]) -> list[Record]:
    """Read the last line as a list and keep what is among the candidates, each once."""
    offered = set(choices)
    terms = dict.fromkeys(term for term in _split(text.split("\n")[-1]) if term in offered)
    return [{"entity": term, "type": "normalization"} for term in terms]


def _events(text: str, choices: Sequence[str]) -> list[Record]:
    """Read all lines but the first as events, split by ``；``; unreadable lines become empty events."""
    return [_event(line) for line in text.split("\n")[1:]]


def _event(line: str) -> Record:
    event: Record = {}
    for part in line.split("；"):
        value = part
        # Official: a value that itself begins with a later field's name fills that field too.
        for field in _EVENT_FIELDS:
            if value.startswith(f"{field}："):
                value = value.replace(f"{field}：", "").strip()
                event[field] = _split(value) if field in _EVENT_LISTS else value
    return {field: event.get(field, [] if field in _EVENT_LISTS else "") for field in _EVENT_FIELDS}


def _attributes(unknown: str) -> Callable[[str, Sequence[str]], list[Record]]:
    """Make a reader of lines ``{entity}：{value}`` that turns a value not offered into ``unknown``."""

    def read(text: str, choices: Sequence[str]) -> list[Record]:
        records: list[Record] = []
        for line in text.split("\n")[1:]:
            parts = line.split("：")
            if len(parts) == 2:
                entity, value = parts
                records.append({"entity": entity.strip(), "attr": value if value in choices else unknown})
        return records

    return read


def _sections(text: str, choices: Sequence[str]) -> dict[str, str]:
    """Read lines ``{section}：…`` after the first; a repeated section counts as last given."""
    lines = text.strip().split("\n")[1:]
    sections: dict[str, str] = {}
    for section in SECTIONS:
        mark = f"{section}："
        for line in lines:
            if line.startswith(mark):
                sections[section] = line.strip().split(mark)[-1].strip()
    return sections


def _stripped(text: str, choices: Sequence[str]) -> str:
    return text.strip()


def _same_or_not(text: str, choices: Sequence[str]) -> str:
    label = text.strip()
    return _SYNONYMS.get(label, label)


_READERS: dict[str, Callable[[str, Sequence[str]], Structure]] = {
    "CMeEE-V2": _entities,
    "CMeIE": _triples,
    "CHIP-CDN": _candidates,
    "CHIP-CDEE": _events,
    "CHIP-MDCFNPC": _attributes("不标注"),
    "CHIP-STS": _same_or_not,
    "CHIP-CTC": _stripped,
    "IMCS-V2-NER": _entities,
    "IMCS-V2-SR": _attributes("无法根据上下文确定病人是否患有该症状"),
    "IMCS-V2-DAC": _stripped,
    "IMCS-V2-MRG": _sections,
    "KUAKE-IR": _stripped,
    "KUAKE-QIC": _stripped,
    "KUAKE-QQR": _stripped,
    "KUAKE-QTR": _stripped,
    "MedDG": _stripped,
}

DATASETS = tuple(_READERS)
"""The sixteen datasets, by their official names."""
