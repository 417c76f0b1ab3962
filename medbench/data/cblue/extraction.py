"""Entities, triples, events and normalized terms: CMeEE-V2, CMeIE, CHIP-CDEE, CHIP-CDN."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from medbench.data.cblue.records import COMMA, Part, Record, lines, rename

_ENTITY_TYPES = {
    "dis": "疾病",
    "sym": "临床表现",
    "pro": "医疗程序",
    "equ": "医疗设备",
    "dru": "药物",
    "ite": "医学检验项目",
    "bod": "身体部位",
    "dep": "医院科室",
    "mic": "微生物类",
}

_NO_TERM = "没有对应的标准化实体"
_DISTRACTORS = 4


def entity_lines(found: Sequence[tuple[str, str]], types: Sequence[str]) -> str:
    """The target of entity recognition: one line per type, each entity once, in order of occurrence."""
    body = []
    for kind in types:
        entities = dict.fromkeys(entity for own, entity in found if own == kind)
        body.append(f"{kind}实体：{COMMA.join(entities)}")
    return lines("上述句子中的实体包含：", body)


def cmeee(records: Sequence[Record], _: random.Random) -> Iterator[Part]:
    """CMeEE-V2: ``text`` and ``entities`` of ``type`` and ``entity``; all nine types are requested."""
    types = list(_ENTITY_TYPES.values())
    for record in records:
        found = []
        for entity in record.items("entities"):
            found.append((rename(entity, "type", _ENTITY_TYPES), entity.get("entity")))
        yield Part(
            record.key,
            {"INPUT_TEXT": record.get("text"), "LIST_LABELS": COMMA.join(types)},
            entity_lines(found, types),
            types,
        )


def cmeie(records: Sequence[Record], _: random.Random) -> Iterator[Part]:
    """CMeIE: ``text`` and ``spo_list`` of ``subject``, ``predicate``, ``object``; for all relations."""
    triples = {record.key: list(_triples(record)) for record in records}
    relations = sorted({relation for found in triples.values() for _, relation, _ in found})
    for record in records:
        body = []
        for relation in relations:
            pairs = dict.fromkeys((head, tail) for head, own, tail in triples[record.key] if own == relation)
            said = "".join(f"头实体为{head}，尾实体为{tail}。" for head, tail in pairs)
            body.append(f"具有{relation}关系的头尾实体对如下：{said}")
        yield Part(
            record.key,
            {"INPUT_TEXT": record.get("text"), "LIST_LABELS": COMMA.join(relations)},
            "\n".join(body),
            relations,
        )


def _triples(record: Record) -> Iterator[tuple[str, str, str]]:
    for triple in record.items("spo_list"):
        tail = triple.get("object", (dict, str))
        tail = tail.get("@value", "") if isinstance(tail, dict) else tail
        yield triple.get("subject"), triple.get("predicate"), str(tail)


def cdee(records: Sequence[Record], _: random.Random) -> Iterator[Part]:
    """CHIP-CDEE: ``text`` and ``event`` of ``core_name``, ``tendency``, ``character``, ``anatomy_list``."""
    for record in records:
        body = [
            f"主体词：{event.get('core_name')}；发生状态：{event.get('tendency')}；"
            f"描述词：{COMMA.join(map(str, event.get('character', list)))}；"
            f"解剖部位：{COMMA.join(map(str, event.get('anatomy_list', list)))}"
            for event in record.items("event")
        ]
        yield Part(
            record.key, {"INPUT_TEXT": record.get("text")}, lines("上述句子中的临床发现事件如下：", body)
        )


def cdn(records: Sequence[Record], draw: random.Random) -> Iterator[Part]:
    """CHIP-CDN: ``text`` and ``normalized_result`` with ``##`` between terms.

    The official candidates come from the ICD-10 terminology, which is not in the file. Here they are the
    right terms and four from other records, chosen at random, so scores differ from official ones.
    """
    terms = {record.key: [t for t in record.get("normalized_result").split("##") if t] for record in records}
    everything = sorted({term for found in terms.values() for term in found})
    for record in records:
        right = terms[record.key]
        others = [
            term
            for term in draw.sample(everything, min(len(everything), 2 * _DISTRACTORS))
            if term not in right
        ]
        candidates = list(dict.fromkeys([*right, *others[:_DISTRACTORS]]))
        draw.shuffle(candidates)
        yield Part(
            record.key,
            {"INPUT_TEXT": record.get("text"), "LIST_LABELS": COMMA.join(candidates)},
            COMMA.join(right) or _NO_TERM,
            candidates,
        )
