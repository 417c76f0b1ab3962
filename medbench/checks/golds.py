"""Checks of what a task takes for right beyond its sample documents: examples, options of digits, blanks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from medbench.catalog.tasks import TaskDefinition
from medbench.checks.findings import Finding
from medbench.runs.golds import asks_for_one_letter, gold_fault, has_several, is_exam

_NAMED = 10
_BLANKS = (" ", "\t", "\u3000", "\u00a0")


def check_golds(task: TaskDefinition, built: Any, siblings: Mapping[str, str]) -> Iterator[Finding]:
    """Check golds that runs on other documents, or with examples, would meet.

    Args:
        task: The definition.
        built: The lm-eval task made of it.
        siblings: Who asks questions with several right answers, by dataset.
    """
    from lm_eval.api.task import ConfigurableTask

    if not isinstance(built, ConfigurableTask):
        return  # A class of its own keeps its golds where it likes.
    if task.dataset not in siblings:
        yield from _left_out(task, built)
    yield from _examples(task, built)
    yield from _misread(task, built)
    yield from _trailing(task, built)


def _left_out(task: TaskDefinition, built: Any) -> Iterator[Finding]:
    """Questions with several right answers that a protocol of one letter sets aside and nobody asks."""
    split = built.config.test_split or built.config.validation_split
    if not asks_for_one_letter(built) or split is None:
        return
    every = built.dataset[split]
    several = [str(doc.get("id", "")) for doc in every if has_several(doc)]
    if several:
        yield Finding.at(
            task.merged.place("doc_to_target"),
            "any-of-gold",
            f"{len(several)} of {len(every)} documents have several right answers, which one letter cannot "
            f"give: {', '.join(several[:_NAMED])}",
            "they are set aside; a task that generates letters and keeps multiple_answer asks them",
            task.name,
        )


def _examples(task: TaskDefinition, built: Any) -> Iterator[Finding]:
    """Golds of worked examples, which prompts show."""
    if built.fewshot_cfg.split is None:
        return
    faults = {
        str(doc.get("id", number)): fault
        for number, doc in enumerate(built.fewshot_docs() or ())
        if (fault := gold_fault(built, doc, example=True)) is not None
    }
    if faults:
        name, fault = next(iter(faults.items()))
        yield Finding.at(
            task.merged.place("fewshot_config"),
            "wrong-gold",
            f"the gold of {len(faults)} examples cannot be scored: {name!r}: {fault}",
            "correct the examples, or the targets of fewshot_config",
            task.name,
        )


def _misread(task: TaskDefinition, built: Any) -> Iterator[Finding]:
    """Whether a target would still be the right one if the options were written in digits, or as lists."""
    template = built.config.doc_to_target
    if built.OUTPUT_TYPE != "multiple_choice" or not isinstance(template, str) or template in built.features:
        return
    for doc in built.eval_docs:
        if not is_exam(doc) or gold_fault(built, doc) is not None:
            continue
        count = len(doc["options"])
        for options in (
            [str((number + 1) % count) for number in range(count)],
            [f"[{number}]" for number in range(count)],
        ):
            fault = gold_fault(built, {**doc, "options": options})
            if fault is not None:
                yield Finding.at(
                    task.merged.place("doc_to_target"),
                    "misread-target",
                    f"with the options {', '.join(options)} the gold would be misread: {fault}",
                    'use the column of letters, or a position such as "{{letters.index(answer)}}"',
                    task.name,
                )
                return


def _trailing(task: TaskDefinition, built: Any) -> Iterator[Finding]:
    """Blanks at the end of a prompt made by a template: models know words with the blank before them."""
    template = built.config.doc_to_text
    if not isinstance(template, str) or template in built.features:
        return
    documents = list(built.eval_docs)
    blank = [doc for doc in documents if str(built.doc_to_text(doc))[-1:] in _BLANKS]
    if blank:
        yield Finding.at(
            task.merged.place("doc_to_text"),
            "trailing-blank",
            f"the prompt ends with a blank for {len(blank)} of {len(documents)} documents, such as "
            f"{str(blank[0].get('id', 0))!r}",
            "end it with the last word or mark; target_delimiter puts the blank before the answer",
            task.name,
        )
