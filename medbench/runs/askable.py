"""Which documents of a task are asked: those whose gold it can express, with examples that leak nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from medbench.data import filters
from medbench.runs.golds import GoldError, asks_for_one_letter, gold_fault, has_several, is_exam
from medbench.runs.settings import RunSettings

if TYPE_CHECKING:
    from medbench.catalog import TaskDefinition

_LOG = logging.getLogger(__name__)

_SHOWN = 5
_NONE: Mapping[str, str] = MappingProxyType({})
_SEVERAL = f"{filters.__name__}.multiple_answer"


class _Documents:
    """Stands in the place of a task's own method that gives its documents."""

    def __init__(self, documents: Any) -> None:
        self._documents = documents

    def __call__(self) -> Any:
        return self._documents


def settle_documents(task: Any, settings: RunSettings, siblings: Mapping[str, str] = _NONE) -> None:
    """See before a model is asked that every document of a task can be answered rightly.

    Questions with several right letters are left out where the task asks for one, and it is said how many.

    Args:
        task: An lm-eval task, its number of examples set. Python tasks of their own make are left alone.
        settings: Settings of the run.
        siblings: What :func:`asking_several` gives: who asks the questions that are left out.

    Raises:
        GoldError: If a gold cannot be scored, or no document is left; names documents and reasons.
    """
    from lm_eval.api.task import ConfigurableTask

    if not isinstance(task, ConfigurableTask):
        return
    documents = task.eval_docs
    kept, several = _divide(task, documents, settings)
    if several:
        if not kept:
            raise GoldError(
                f"all {len(documents)} documents have several right answers, which one letter cannot give",
                where=str(task.config.task),
                hint="generate the answer and compare sets of letters, as the tasks in _multiple do",
            )
        documents = _select(documents, kept)
    process = task.config.process_docs
    if several or (process is not None and process.__module__ == filters.__name__):
        # lm-eval would filter them again whenever it looks at them.
        setattr(task, "test_docs" if task.has_test_docs() else "validation_docs", _Documents(documents))
    _say_left_out(task, several, settings, siblings)
    if task.config.num_fewshot:
        _settle_examples(task, documents)


def refuse_first_golds(config: Mapping[str, Any]) -> None:
    """Say which golds are at fault where lm-eval fails to make a task of them, if golds are at fault.

    Args:
        config: What the task was to be made of.

    Raises:
        GoldError: If the golds of its documents cannot be scored.
    """
    from lm_eval.api.task import ConfigurableTask

    looked_up = {"doc_to_target": config.get("doc_to_target"), "doc_to_choice": config.get("doc_to_choice")}
    try:
        task = ConfigurableTask(config={**config, "doc_to_target": "", "doc_to_choice": None})
        for settings in (task.config, task.fewshot_cfg):
            for key, value in looked_up.items():
                setattr(settings, key, value)
    except Exception:  # noqa: BLE001 - whatever else is wrong with the task is told by its own error
        return
    with suppress(Exception):  # A target that cannot be rendered is told of its document.
        first = task.doc_to_target(task.eval_docs[0])
        task.multiple_target = len(first) if isinstance(first, list) else 0
    _divide(task, task.eval_docs, RunSettings())


def _divide(task: Any, documents: Any, settings: RunSettings) -> tuple[list[int], int]:
    """Positions of the documents to ask, and how many have several right answers.

    Raises:
        GoldError: If the gold of one cannot be scored.
    """
    single = asks_for_one_letter(task)
    limit = None if settings.circular else settings.limit
    kept: list[int] = []
    several, faults = 0, {}
    for position, doc in enumerate(documents):
        if limit is not None and len(kept) >= limit:
            kept += range(position, len(documents))  # Never asked, and so not looked at.
            break
        if single and has_several(doc):
            several += 1
            continue
        kept.append(position)
        if (fault := gold_fault(task, doc)) is not None:
            faults[_name(doc, position)] = fault
    _refuse(task, faults, len(documents), "documents")
    return kept, several


def _refuse(task: Any, faults: Mapping[str, str], total: int, which: str) -> None:
    if not faults:
        return
    shown = "; ".join(f"{name}: {fault}" for name, fault in list(faults.items())[:_SHOWN])
    more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    raise GoldError(
        f"the gold of {len(faults)} of {total} {which} cannot be scored: {shown}{more}",
        where=str(task.config.task),
        hint="correct the documents, doc_to_target or doc_to_choice; else every model is counted as wrong",
    )


def _select(documents: Any, kept: Sequence[int]) -> Any:
    return documents.select(kept) if hasattr(documents, "select") else [documents[index] for index in kept]


def _name(doc: Mapping[str, Any], position: int) -> str:
    return repr(str(doc["id"])) if "id" in doc else f"document {position}"


def _say_left_out(task: Any, several: int, settings: RunSettings, siblings: Mapping[str, str]) -> None:
    """Say how many questions with several right answers the task does not ask, here or by its own filter."""
    name = str(task.config.task)
    split = task.config.test_split or task.config.validation_split
    if not asks_for_one_letter(task) or not split:
        return
    every = task.dataset[split]
    if "answer" not in every.features or "letters" not in every.features:
        return
    counted = sum(len(answer) > 1 for answer in every["answer"][:])
    if not max(counted, several) or settings.data_source == "samples":
        return
    sibling = siblings.get(str((task.config.metadata or {}).get("dataset")))
    _LOG.log(
        logging.INFO if sibling else logging.WARNING,
        "%s: %d of %d documents set aside: they have several right answers, which one letter cannot give%s",
        name,
        max(counted, several),
        len(every),
        f"; {sibling} asks them" if sibling else "",
    )


def asking_several(definitions: Iterable[TaskDefinition]) -> dict[str, str]:
    """The task of each dataset that asks its questions with several right answers.

    Args:
        definitions: All tasks there are.

    Returns:
        Names of tasks that keep these questions and no others, by dataset.
    """
    return {
        task.dataset: task.name
        for task in definitions
        if task.dataset and getattr(task.merged.values.get("process_docs"), "name", "") == _SEVERAL
    }


def _settle_examples(task: Any, documents: Any) -> None:
    """Take examples with several right answers out where one letter is asked for, and look at the others."""
    examples = list(task.fewshot_docs() or ())
    if asks_for_one_letter(task):
        single = [doc for doc in examples if not has_several(doc)]
        if len(single) < len(examples):
            left_out = len(examples) - len(single)
            _LOG.warning("%s: %d examples with several right answers left out", task.config.task, left_out)
            if len(single) < task.config.num_fewshot:
                count = task.config.num_fewshot
                raise GoldError(
                    f"{count} examples were asked for, but {len(single)} have one right answer",
                    where=str(task.config.task),
                    hint=f"use --num-fewshot {len(single)} or fewer",
                )
            task.sampler.replace_df(single)
            examples = single
    faults = {
        _name(doc, number): fault
        for number, doc in enumerate(examples)
        if (fault := gold_fault(task, doc, example=True)) is not None
    }
    _refuse(task, faults, len(examples), "examples")
    _tell_leaks(task, examples, documents)


def _tell_leaks(task: Any, examples: Sequence[Mapping[str, Any]], documents: Any) -> None:
    """Warn of examples that are questions of the test: their answers stand in the prompts."""
    from medbench.data.duplicates import question_key

    asked = {"question", "context"}
    known = [doc for doc in examples if "input" in doc or (is_exam(doc) and asked <= doc.keys())]
    if not known:
        return
    shown = {question_key(dict(doc)): _name(doc, number) for number, doc in enumerate(known)}
    found = [
        f"{shown[key]} is {_name(doc, position)}"
        for position, doc in enumerate(documents)
        if (key := question_key(dict(doc))) in shown
    ]
    if found:
        more = ", …" if len(found) > _SHOWN else ""
        _LOG.warning(
            "%s: %d of the documents asked are among its examples, which show their answers: %s%s",
            task.config.task,
            len(found),
            ", ".join(found[:_SHOWN]),
            more,
        )
