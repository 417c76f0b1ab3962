"""Checks of exam tasks against their documents: what is shown to a model, and what is taken for right.

The document is the oracle and not the task's own target, which would always agree with itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from medbench.catalog.tasks import TaskDefinition
from medbench.checks.findings import Finding
from medbench.data.duplicates import repeated
from medbench.runs.golds import is_exam, letters_of_choices, written_gold_fault

_NAMED = 10
_LONGEST_LABEL = 3
# Shorter options may stand beside any letter by chance.
_TELLING = 4
_CUE = r"(?:\b(?:answers?|ans\b\.?)|答案)\s*(?:is|为|是|[:：])?\s*[(（\[]?"


class _Fault(NamedTuple):
    """What is wrong with one document of a task."""

    key: str
    code: str
    what: str
    hint: str


def check_exam(task: TaskDefinition, built: Any) -> Iterator[Finding]:
    """Compare the prompts and targets of a task with its exam documents.

    Args:
        task: The definition.
        built: The lm-eval task made of it; others than exams give no finding.

    Returns:
        One finding per kind of fault, with all documents that have it.
    """
    found: dict[tuple[str, str], list[tuple[str, _Fault]]] = {}
    documents = [doc for doc in built.eval_docs if is_exam(doc)]
    for doc in documents:
        for fault in _faults(built, doc):
            found.setdefault((fault.key, fault.code), []).append((str(doc.get("id", "")), fault))
    for (key, code), faults in found.items():
        names = ", ".join(repr(name) for name, _ in faults[:_NAMED])
        more = ", …" if len(faults) > _NAMED else ""
        message = f"{faults[0][1].what} ({len(faults)} of {len(documents)} documents: {names}{more})"
        yield Finding.at(task.merged.place(key), code, message, faults[0][1].hint, task.name)


def _faults(built: Any, doc: Mapping[str, Any]) -> Iterator[_Fault]:
    prompt = built.fewshot_context(doc, 0)
    if not isinstance(prompt, str):
        return
    shown = _loose(prompt)
    yield from _text_faults(doc, shown)
    yield from _document_faults(doc)
    yield from _choice_faults(built, doc)
    labels = _labels(built, doc)
    if labels is not None:
        yield from _option_faults(labels, [_loose(option) for option in doc["options"]], shown)
    yield from _target_faults(built, doc)


def _loose(text: str) -> str:
    return " ".join(text.casefold().split())


def _text_faults(doc: Mapping[str, Any], shown: str) -> Iterator[_Fault]:
    for column in ("question", "context"):
        text = _loose(str(doc.get(column) or ""))
        if text not in shown:
            yield _Fault(
                "doc_to_text",
                f"{column}-missing",
                f"the prompt does not show the {column}",
                f"write {{{{{column}}}}} into doc_to_text",
            )


def _document_faults(doc: Mapping[str, Any]) -> Iterator[_Fault]:
    alike = repeated(doc["options"])
    if alike:
        letters = " and ".join(doc["letters"][index] for index in alike)
        yield _Fault(
            "metadata", "repeated-option", f"the options {letters} have the same text", "make them differ"
        )
    labeled = zip(doc["letters"], doc["options"], strict=True)
    if all(re.match(rf"[(（]?{letter}[).．、:：）]\s*\S", option) for letter, option in labeled):
        yield _Fault(
            "metadata",
            "lettered-options",
            "the texts of the options begin with their letters, which templates write as well",
            "leave the letters out of the documents' options",
        )
    for column in ("question", "context"):
        text = str(doc.get(column) or "")
        if re.search(rf"{_CUE}(?-i:{doc['answer']})(?![A-Za-z0-9])", text, re.IGNORECASE):
            yield _Fault(
                "metadata", "answer-in-prompt", f"the {column} announces the answer", "remove it there"
            )


def _choices(built: Any, doc: Mapping[str, Any]) -> list[str] | None:
    if built.OUTPUT_TYPE != "multiple_choice":
        return None
    return [str(choice) for choice in built.doc_to_choice(doc)]


def _choice_faults(built: Any, doc: Mapping[str, Any]) -> Iterator[_Fault]:
    choices = _choices(built, doc)
    if choices is None:
        return
    letters = letters_of_choices(doc, choices)
    if letters is not None and len(choices) != len(doc["options"]):
        yield _Fault(
            "doc_to_choice",
            "choices-mismatch",
            f"there are {len(choices)} choices, but {len(doc['options'])} options",
            "use the columns letters or options, which follow the document",
        )
    delimiter = str(built.config.target_delimiter or "")
    if delimiter.endswith((" ", "\t")) and any(choice.startswith((" ", "\t")) for choice in choices):
        yield _Fault(
            "doc_to_choice",
            "double-blank",
            "a choice begins with a blank, and target_delimiter ends with one",
            "models know words behind one blank; leave one of them out",
        )


def _labels(built: Any, doc: Mapping[str, Any]) -> list[str] | None:
    """What a model is to answer with in place of an option's text; None where it answers with the text."""
    choices = _choices(built, doc)
    if choices is None:
        return list(doc["letters"]) if _asks_for_letters(built, doc) else None
    bare = [choice.strip(" ().:、．") for choice in choices]
    longest = max(map(len, bare), default=0)
    # Letters, or numbers that stand for no option's text.
    are_labels = longest == 1 or (longest <= _LONGEST_LABEL and letters_of_choices(doc, choices) is None)
    return bare if are_labels and len(bare) == len(doc["options"]) else None


def _asks_for_letters(built: Any, doc: Mapping[str, Any]) -> bool:
    """Whether answers that are written are letters: by what reads them, or by the target."""
    scores = getattr(built.config.process_results, "__name__", "")
    return scores == "score_generated" or str(built.doc_to_target(doc)).strip() == str(doc["answer"])


def _option_faults(labels: Sequence[str], options: Sequence[str], shown: str) -> Iterator[_Fault]:
    marks = [label.casefold() for label in labels]
    missing = [label for label, option in zip(labels, options, strict=True) if option not in shown]
    if missing:
        yield _Fault(
            "doc_to_text",
            "option-missing",
            f"the prompt does not show the option {missing[0]}, but is to be answered with its letter",
            "write every option behind its letter",
        )
        return
    if _in_order(marks, options, shown, before=True):
        yield from _beside_another(marks, options, shown)
        return
    if _in_order(marks, options, shown, before=False):
        return
    alone = all(re.search(_pattern(*pair, before=True), shown) for pair in zip(marks, options, strict=True))
    yield _Fault(
        "doc_to_text",
        "option-order" if alone else "option-letter",
        "the prompt shows the options in another order than the document"
        if alone
        else "the prompt does not show each option beside its own letter",
        "write letters[loop.index0] before each option of `for option in options`",
    )


def _beside_another(marks: Sequence[str], options: Sequence[str], shown: str) -> Iterator[_Fault]:
    """Whether options in order stand beside other letters as well, as in a second list in another order.

    One may by chance, as in ``A cobalt …`` of a question.
    """
    astray = [
        (mark, option)
        for mark, own in zip(marks, options, strict=True)
        for option in options
        if len(option) >= _TELLING
        and option not in own
        and own not in option
        and re.search(_pattern(mark, option, before=True), shown)
    ]
    if len({mark for mark, _ in astray}) > 1 and len({option for _, option in astray}) > 1:
        mark, option = astray[0]
        yield _Fault(
            "doc_to_text",
            "option-letter",
            f"the prompt shows the option {option[:40]!r} beside another's letter, {mark.upper()}",
            "write every option once, behind its own letter",
        )


def _pattern(label: str, option: str, *, before: bool) -> str:
    """A label beside an option's whole text, with at most some marks between them."""
    text = re.escape(option)
    if option[-1:].isascii() and option[-1:].isalnum():
        text += r"(?![a-z0-9])"
    mark = rf"(?<![a-z0-9]){re.escape(label)}(?![a-z0-9])"
    return rf"{mark}\W{{0,6}}{text}" if before else rf"{text}\W{{0,4}}{mark}"


def _in_order(labels: Sequence[str], options: Sequence[str], shown: str, *, before: bool) -> bool:
    position = 0
    for label, option in zip(labels, options, strict=True):
        found = re.compile(_pattern(label, option, before=before)).search(shown, position)
        if found is None:
            return False
        position = found.end()
    return True


def _target_faults(built: Any, doc: Mapping[str, Any]) -> Iterator[_Fault]:
    fault = written_gold_fault(built, doc)
    if fault is not None:
        yield _Fault("doc_to_target", "wrong-gold", fault, "use the column answer")
