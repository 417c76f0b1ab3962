"""Whether a prompt shows its answer: rendered again with another answer, it must stay as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from medbench.catalog.tasks import TaskDefinition
from medbench.checks.findings import Finding
from medbench.data import filters

_NAMED = 10
_ROWS = 100
_MARK = "quizzaciously altered "


class _Rendered(NamedTuple):
    """What a model sees of a document."""

    name: str
    prompt: str
    choices: tuple[str, ...]


def check_leaks(task: TaskDefinition, built: Any) -> Iterator[Finding]:
    """Change what only the answer should depend on, and see whether prompts or choices change.

    Args:
        task: The definition.
        built: The lm-eval task made of it.
    """
    rows = _rows(built)
    before = _render(built, rows)
    if not before or before != _render(built, rows):
        return  # Documents that are made by chance cannot be compared.
    for column, change in _changes(built, rows).items():
        after = _render(built, [change(row) for row in rows])
        if after is None or [one.name for one in after] != [one.name for one in before]:
            continue
        pairs = list(zip(before, after, strict=True))
        for key, field in (("doc_to_text", "prompt"), ("doc_to_choice", "choices")):
            names = [old.name for old, new in pairs if getattr(old, field) != getattr(new, field)]
            if names:
                yield Finding.at(
                    task.merged.place(key),
                    "answer-in-prompt",
                    f"the {field} of a document changes with its {column!r}, which tells the answer "
                    f"({len(names)} of {len(before)} documents: {', '.join(map(repr, names[:_NAMED]))})",
                    "leave it out",
                    task.name,
                )


Change = Callable[[Mapping[str, Any]], dict[str, Any]]


def _changes(built: Any, rows: Sequence[Mapping[str, Any]]) -> dict[str, Change]:
    """How to alter the columns that hold the answer, by column."""
    columns = set(rows[0]) if rows else set()
    changes: dict[str, Change] = {}
    if {"letters", "options", "answer"} <= columns:
        changes["answer"] = _other_letters
        if any(len(row["answer"]) > 1 for row in rows):
            changes["number of answers"] = _other_number
        changes["rationale"] = lambda row: {**row, "rationale": _other_text(row.get("rationale"))}
    elif "target" in columns and "input" in columns:
        changes["target"] = lambda row: {**row, "target": _other_text(row["target"])}
    else:
        target = built.config.doc_to_target
        if built.OUTPUT_TYPE == "multiple_choice" and isinstance(target, str) and target in columns:
            values = list(dict.fromkeys(row[target] for row in rows if isinstance(row[target], (str, int))))
            following = dict(zip(values, values[1:] + values[:1], strict=True))
            changes[target] = lambda row: {**row, target: following.get(row[target], row[target])}
    columns |= {"number of answers"}
    return {column: change for column, change in changes.items() if column in columns}


def _other_text(text: Any) -> str:
    """A text at least as long that has nothing of the first, so that every part of it is seen to change."""
    return _MARK * (len(str(text)) // len(_MARK) + 1)


def _other_letters(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with as many right letters, each the one after."""
    letters = list(row["letters"])
    moved = (letters[(letters.index(letter) + 1) % len(letters)] for letter in row["answer"])
    return {**row, "answer": "".join(sorted(moved))}


def _other_number(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with one right letter more or less, if there are several and there will be."""
    letters, answer = list(row["letters"]), row["answer"]
    if len(answer) < 2:
        return dict(row)
    more = [letter for letter in letters if letter not in answer][:1]
    if not more and len(answer) == 2:
        return dict(row)
    return {**row, "answer": "".join(sorted([*answer, *more])) if more else answer[:-1]}


def _makes_documents(built: Any) -> bool:
    """Whether documents are made of rows by a function, which may carry the answer elsewhere."""
    process = built.config.process_docs
    # Filters leave documents as they are, and keep the same ones whichever letter is right.
    return process is not None and process.__module__ != filters.__name__


def _rows(built: Any) -> list[dict[str, Any]]:
    split = built.config.test_split or built.config.validation_split
    source = built.dataset[split] if _makes_documents(built) else built.eval_docs
    return [dict(row) for row in islice(source, _ROWS)]


def _render(built: Any, rows: Sequence[dict[str, Any]]) -> list[_Rendered] | None:
    """What a model would see of rows; None where the task's own code does not bear them."""
    documents: Any = rows
    try:
        if _makes_documents(built):
            import datasets

            split = built.config.test_split or built.config.validation_split
            features = built.dataset[split].features
            documents = built.config.process_docs(datasets.Dataset.from_list(list(rows), features=features))
        return [_rendered(built, doc, position) for position, doc in enumerate(documents)]
    except Exception:  # noqa: BLE001 - a task's own code may raise anything on documents that it does not know
        return None


def _rendered(built: Any, doc: Mapping[str, Any], position: int) -> _Rendered:
    prompt = built.fewshot_context(doc, 0, gen_prefix=built.doc_to_prefix(doc))
    choices = built.doc_to_choice(doc) if built.OUTPUT_TYPE == "multiple_choice" else ()
    return _Rendered(str(doc.get("id", position)), str(prompt), tuple(map(str, choices)))
