"""Golds that a task can express, where lm-eval would count zero for every model without a word.

lm-eval turns a gold that is none of the choices into an index that nothing equals, reads a target rendered
as digits as a position, and hides the one warning that it has. A task with such a gold is refused before a
model is asked. Exam questions with several right letters are set aside where one letter is asked for: nothing
is wrong with them but the protocol.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from medbench.data.documents import LETTERS
from medbench.errors import RunError

# "A. ", "(b) ", "C、" before an option.
_LABEL = re.compile(r"\s*\(?[A-Ja-j][).:、．\s]\s*")
# A letter or mark of a template outside its expressions, with which a prompt can be no number.
_LITERAL = re.compile(r"\{[{%#].*?[}%#]\}\s*[^\s{\d]|^\s*[^\s{\d]", re.DOTALL)
_NOTHING = frozenset({"none", "nan", "null"})


class GoldError(RunError):
    """Documents whose gold the task cannot score."""


def is_exam(doc: Mapping[str, Any]) -> bool:
    """Whether a document is one of medbench's exam questions, which say themselves what is right."""
    return all(column in doc for column in ("letters", "options", "answer"))


def has_several(doc: Mapping[str, Any]) -> bool:
    """Whether a document is an exam question with several right letters."""
    return is_exam(doc) and len(str(doc["answer"])) > 1


def asks_for_one_letter(task: Any) -> bool:
    """Whether a task takes one of a question's letters for its answer: as the likeliest choice, or decoded.

    Authors' protocols that offer the letters of a prompt, whatever the question's, score all questions.
    """
    if task.OUTPUT_TYPE == "multiple_choice":
        return not _scores_by_itself(task)
    settings = task.config.generation_kwargs or {}
    second = settings.get("second_pass")
    return bool(settings.get("constrain") or (isinstance(second, Mapping) and second.get("letters")))


def _scores_by_itself(task: Any) -> bool:
    """Whether a function from outside scores a task: it may find the gold anywhere."""
    own = task.config.process_results
    return own is not None and not str(getattr(own, "__module__", "")).startswith("medbench.")


def gold_fault(task: Any, doc: Mapping[str, Any], *, example: bool = False) -> str | None:
    """Why a task cannot score a document's gold, in the middle of a sentence; None where it can.

    Args:
        task: An lm-eval task.
        doc: One of its documents.
        example: Whether the document is a worked example, which may have templates of its own.
    """
    if _scores_by_itself(task):
        return None
    settings = task.fewshot_cfg if example else task.config
    try:
        return next(_faults(task, doc, settings), None)
    except Exception as error:  # noqa: BLE001 - a template or a function of the task may raise anything
        return f"its gold cannot be found: {type(error).__name__}: {error}"


def _faults(task: Any, doc: Mapping[str, Any], settings: Any) -> Iterator[str]:
    rendered = task.doc_to_target(doc, settings.doc_to_target)
    gold = task.doc_to_text(doc, settings.doc_to_text) if task.multiple_input else rendered
    # lm-eval looks positions up where choices are given, also for answers that are written.
    looked_up = task.OUTPUT_TYPE == "multiple_choice" or (
        task.OUTPUT_TYPE == "generate_until" and task.config.process_results is None
    )
    if task.config.doc_to_choice is None or not looked_up:
        if _is_nothing(rendered) or _renders_null(settings.doc_to_target, rendered, doc):
            yield "its gold is null"
        return
    choices = task.doc_to_choice(doc, settings.doc_to_choice)
    yield from _faults_of_choices(choices)
    if isinstance(gold, str) and task.OUTPUT_TYPE == "generate_until":
        yield f"its gold is the text {gold!r:.60}, but beside doc_to_choice lm-eval needs a position"
    if not task.multiple_input and isinstance(gold, list) != bool(task.multiple_target):
        kind = "no list" if task.multiple_target else "a list"
        yield f"its gold is {gold!r:.60}, {kind} unlike that of the first document"
    yield from _faults_of_index(gold, choices)
    if task.multiple_input:
        return
    if is_exam(doc):
        yield from _contradictions(doc, choices, gold)
    else:
        yield from _misread(task, settings.doc_to_target, doc, choices, gold)
    may_be_number = callable(settings.doc_to_text) or not _LITERAL.search(str(settings.doc_to_text))
    if may_be_number and isinstance(task.doc_to_text(doc, settings.doc_to_text), int):
        yield "its prompt is a number, which lm-eval takes for the position of a choice"


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _renders_null(template: Any, rendered: Any, doc: Mapping[str, Any]) -> bool:
    """Whether a template wrote the word for a null into the target."""
    if not isinstance(template, str) or not isinstance(rendered, str):
        return False
    return rendered.strip().lower() in _NOTHING and any(
        _is_nothing(value) and column in template for column, value in doc.items()
    )


def _faults_of_choices(choices: Any) -> Iterator[str]:
    if not isinstance(choices, (list, tuple)) or not choices:
        yield f"its choices are {choices!r:.60}, expected a list of texts"
        return
    for number, choice in enumerate(choices, start=1):
        if not isinstance(choice, str) or not choice:
            hint = "; YAML reads no, yes, on and off as truth values" if isinstance(choice, bool) else ""
            yield f"its choice {number} is {choice!r:.40}, expected a text{hint}"


def _faults_of_index(gold: Any, choices: Sequence[str]) -> Iterator[str]:
    """Why lm-eval finds no choice for a gold."""
    if isinstance(gold, list):
        if not gold:
            yield "its gold is an empty list"
        for one in gold:
            if not isinstance(one, int):
                yield f"its gold is the list {gold!r:.60}, whose items are no positions of choices"
            else:
                yield from _faults_of_index(one, choices)
    elif _is_nothing(gold):
        yield "its gold is null"
    elif isinstance(gold, str):
        if gold not in choices:
            yield f"its gold {gold!r:.60} is none of the choices {_shown(choices)}"
    elif not isinstance(gold, int):
        yield f"its gold {gold!r:.60} is neither a choice nor the position of one"
    elif not 0 <= gold < len(choices):
        yield f"its gold is the position {gold}, counted from 0, but there are {len(choices)} choices"
    elif choices[int(gold)] in choices[: int(gold)]:
        text = f"{choices[int(gold)]!r:.60}"
        yield f"its gold is choice {int(gold) + 1}, but an earlier choice is the same text {text}"


def letters_of_choices(doc: Mapping[str, Any], choices: Sequence[str]) -> list[str] | None:
    """The letters of an exam question that choices stand for, by their looks; None where they show none.

    Args:
        doc: An exam question.
        choices: Its letters in any dress ("A", "(a)", "A."), or its options, with or without their letters.

    Returns:
        For each choice its letter; where options are alike, the letters of all of them as one text.
    """
    bare = [choice.strip(" ().:、．").upper() for choice in choices]
    if all(len(letter) == 1 and letter in LETTERS for letter in bare) and len(set(bare)) == len(bare):
        return bare
    options = [_loose(option) for option in doc["options"]]
    found = []
    for choice in choices:
        text = _loose(choice)
        unlabeled = _loose(_LABEL.sub("", choice, count=1))
        same = [letter for letter, option in zip(doc["letters"], options, strict=True) if option == text]
        same = same or [
            letter for letter, option in zip(doc["letters"], options, strict=True) if option == unlabeled
        ]
        found.append("".join(same))
    return found if all(found) else None


def _loose(text: str) -> str:
    return " ".join(text.casefold().split())


def _contradictions(doc: Mapping[str, Any], choices: Sequence[str], gold: Any) -> Iterator[str]:
    """Where choices are an exam question's letters or options: whether the gold is what the question says."""
    letters = letters_of_choices(doc, choices)
    if letters is None:
        return
    for one in gold if isinstance(gold, list) else [gold]:
        position = choices.index(one) if isinstance(one, str) else int(one)
        if not set(letters[position]) & set(doc["answer"]):
            yield f"the task takes {choices[position]!r:.60} for right, but the document says {doc['answer']}"


def written_gold_fault(task: Any, doc: Mapping[str, Any]) -> str | None:
    """Why the target of a task that writes its answers is not what an exam question calls right.

    The explanation of an answer is a target as well.

    Args:
        task: An lm-eval task.
        doc: An exam question.

    Returns:
        What is wrong; None where nothing is, or where the task chooses instead of writing.
    """
    from medbench.scoring.exams import read_answer

    if task.OUTPUT_TYPE != "generate_until":
        return None
    target = task.doc_to_target(doc)
    explanation = str(doc.get("rationale") or "").strip()
    for text in map(str, target if isinstance(target, list) else [target]):
        explains = bool(explanation) and text.strip() == explanation
        if not explains and read_answer(doc, text) != doc["answer"]:
            return f"the target is {text!r:.60}, but the document says {doc['answer']}"
    return None


def _misread(
    task: Any, template: Any, doc: Mapping[str, Any], choices: Sequence[str], gold: Any
) -> Iterator[str]:
    """Whether lm-eval read a rendered text as something else although it is a choice as it stands."""
    if not isinstance(template, str) or template in task.features or isinstance(gold, str):
        return
    from lm_eval import utils

    text = str(utils.apply_template(template, doc))
    if text in choices and (isinstance(gold, list) or choices[int(gold)] != text):
        taken = [choices[int(one)] for one in (gold if isinstance(gold, list) else [gold])]
        yield (
            f"its gold is written {text!r:.40}, which is a choice, but lm-eval takes it for the position of "
            f"{_shown(taken)}"
        )


def _shown(texts: Sequence[str]) -> str:
    shown = ", ".join(repr(text)[:40] for text in texts[:6])
    return f"{shown}, …" if len(texts) > 6 else shown
