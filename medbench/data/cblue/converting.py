"""Conversion of a raw file to PromptCBLUE rows, with the official templates."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medbench.common.files import reason, write_text
from medbench.data.cblue import dialogues, extraction, labels
from medbench.data.cblue.records import Part, Record
from medbench.data.documents import Document
from medbench.data.readers.strict_json import NotJsonError, parse_json, refuse_repeated
from medbench.errors import DataError

_Converter = Callable[[Sequence[Record], random.Random], Iterator[Part]]

# Task -> (PromptCBLUE's task_type, converter).
_CONVERTERS: dict[str, tuple[str, _Converter]] = {
    "CMeEE-V2": ("ner", extraction.cmeee),
    "CMeIE": ("spo_generation", extraction.cmeie),
    "CHIP-CDN": ("normalization", extraction.cdn),
    "CHIP-CDEE": ("event_extraction", extraction.cdee),
    "CHIP-STS": ("cls", labels.sts),
    "CHIP-CTC": ("cls", labels.ctc),
    "KUAKE-QIC": ("cls", labels.qic),
    "KUAKE-QTR": ("matching", labels.qtr),
    "CHIP-MDCFNPC": ("attr_cls", dialogues.mdcfnpc),
    "IMCS-V2-DAC": ("cls", dialogues.dac),
    "IMCS-V2-NER": ("ner", dialogues.imcs_ner),
    "IMCS-V2-SR": ("attr_cls", dialogues.sr),
    "IMCS-V2-MRG": ("report_generation", dialogues.mrg),
    "MedDG": ("response_generation", dialogues.meddg),
}

CONVERTIBLE = tuple(_CONVERTERS)

NOT_CONVERTIBLE = {
    "KUAKE-QQR": "the raw label 0 stands for two of PromptCBLUE's (a broader query, and an unrelated one)",
    "KUAKE-IR": "the raw files hold relevant pairs only; how irrelevant ones were chosen is not published",
}

_PLACEHOLDER = re.compile(r"\[(INPUT_TEXT(?:_[12])?|LIST_LABELS|LIST_MENTIONS)\]")


def _task(name: str) -> tuple[str, _Converter]:
    if name in _CONVERTERS:
        return _CONVERTERS[name]
    if name in NOT_CONVERTIBLE:
        raise DataError(
            f"{name} cannot be converted: {NOT_CONVERTIBLE[name]}", hint="use the official PromptCBLUE file"
        )
    raise DataError(f"unknown PromptCBLUE task {name!r}", hint=f"one of {', '.join(CONVERTIBLE)}")


def _load(path: Path) -> Any:
    """Read JSON, or JSON Lines, whatever the suffix of the file."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the file cannot be read: {error}", where=str(path)) from error
    try:
        content = parse_json(text, str(path))
    except NotJsonError:
        content = []
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                where = f"{path}, line {number}"
                try:
                    content.append(parse_json(line, where))
                except NotJsonError as error:
                    raise DataError(f"neither JSON nor JSON Lines: {error.what}", where=where) from error
    refuse_repeated(content, str(path))
    return content


def _records(path: Path) -> list[Record]:
    content = _load(path)
    if isinstance(content, Mapping):
        # IMCS-V2 files are keyed by dialogue.
        pairs: Iterable[tuple[str, Any]] = content.items()
    elif isinstance(content, list):
        pairs = ((str(number), value) for number, value in enumerate(content, start=1))
    else:
        raise DataError("expected a list or an object of records", where=str(path))
    records = []
    for key, value in pairs:
        where = f"{path}, record {key}"
        if isinstance(value, list):
            # MedDG stores a dialogue as a bare list of sentences.
            value = {"dialogue": value}
        if not isinstance(value, Mapping):
            raise DataError(f"{type(value).__name__} where an object was expected", where=where)
        own = value.get("id", value.get("dialog_id"))
        records.append(Record(where, str(own) if isinstance(own, (str, int)) else str(key), value))
    if not records:
        raise DataError("the file has no records", where=str(path))
    return records


def read_templates(path: Path) -> Mapping[str, tuple[str, ...]]:
    """Read the official `templates.json`: wordings by task.

    Raises:
        DataError: If it is not such a file.
    """
    content = _load(path)
    if not isinstance(content, Mapping) or not all(
        isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts)
        for texts in content.values()
    ):
        raise DataError(
            "this is no list of wordings by task",
            where=str(path),
            hint="`medbench data fetch` gets PromptCBLUE's templates.json",
        )
    # The file has a backslash and an n where rows have a line break.
    return {task: tuple(text.replace("\\n", "\n") for text in texts) for task, texts in content.items()}


def _fill(template: str, fields: Mapping[str, str], where: str) -> str:
    missing = [name for name in _PLACEHOLDER.findall(template) if name not in fields]
    if missing:
        raise DataError(f"the template asks for [{missing[0]}], which the task does not have", where=where)
    # In one pass, so that brackets in a text stay as they are.
    return _PLACEHOLDER.sub(lambda match: fields[match.group(1)], template)


def convert(
    path: str | Path, task: str, templates: Mapping[str, Sequence[str]], *, seed: int = 0, split: str = "dev"
) -> list[Document]:
    """Convert a raw CBLUE file to PromptCBLUE rows.

    The official conversion chose wordings and label subsets at random without a seed, so its rows cannot be
    reproduced; these are the same questions in the same format, with all labels offered.

    Args:
        path: The raw file, such as ``CMeEE-V2_dev.json``.
        task: Name of the task, as in the templates.
        templates: Wordings by task, from :func:`read_templates`.
        seed: Seed for the wording of each row, and for distractors if a task needs them.
        split: Name of the split, used in the sample ids.

    Returns:
        Rows with ``input, target, answer_choices, task_type, task_dataset, sample_id, cluster``.

    Raises:
        DataError: If the task cannot be converted, or a record is not in the format of its raw files.
    """
    task_type, converter = _task(task)
    if task not in templates:
        raise DataError(f"the templates have none for {task}", hint="use the official templates.json")
    draw = random.Random(f"{seed} {task}")  # noqa: S311 not for secrets
    rows = []
    for part in converter(_records(Path(path)), draw):
        template = draw.choice(templates[task])
        identifier = f"{split}-{part.key}"
        rows.append(
            {
                "input": _fill(template, part.fields, task),
                "target": part.target,
                "answer_choices": None if part.choices is None else list(part.choices),
                "task_type": task_type,
                "task_dataset": task,
                "sample_id": identifier,
                "cluster": f"{split}-{part.cluster}" if part.cluster else identifier,
            }
        )
    return rows


def write_rows(path: Path, rows: Iterable[Document]) -> None:
    """Write rows as JSON Lines.

    Raises:
        DataError: If they cannot be written.
    """
    try:
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    except OSError as error:
        raise DataError(f"the rows cannot be written: {reason(error)}", where=str(path)) from error
