"""Checks of the documents that a task gets: source, license, answers, examples, columns of templates."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from medbench.catalog.tasks import Place, TaskDefinition
from medbench.checks.findings import Finding, from_error
from medbench.common.suggest import nearest
from medbench.data.documents import ANNOTATIONS, EXAM_COLUMNS, PROMPTCBLUE_COLUMNS, Document
from medbench.data.duplicates import question_key
from medbench.data.loading import faults_in, read
from medbench.data.registry import DatasetEntry, pinned_files, readable_register
from medbench.data.sources import resolve
from medbench.errors import DataError

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SAMPLES = 3
_FILTERS = "medbench.data.filters."


def check_documents(
    task: TaskDefinition, folders: Sequence[Path], data_dir: Path | None = None
) -> Iterator[Finding]:
    """Check the dataset that a task names and its documents.

    Args:
        task: The definition.
        folders: Folders from outside whose registers add datasets.
        data_dir: A folder with benchmark files; the samples are looked at where it has none of the dataset.
    """
    place = task.merged.place("metadata", "dataset")
    if task.dataset is None or not task.own_data:
        return  # such a task brings its documents itself, and `dataset` is a name for readers
    known = readable_register(folders)
    datasets = known.datasets
    if task.dataset in known.contested:
        yield from_error(known.contested[task.dataset], "faulty-register", place, task.name)
        return
    entry = datasets.get(task.dataset)
    if entry is None and known.faults:
        # It may be one of theirs; their own findings say what is wrong with them.
        yield from check_registers(folders)
        return
    if entry is None:
        close = nearest(task.dataset, datasets)
        yield Finding.at(
            place,
            "unknown-dataset",
            f"there is no dataset {task.dataset!r}",
            f"did you mean {close}?" if close else "describe it in a sources.yaml beside the task",
            task.name,
        )
        return
    if task.language and entry.language != task.language:
        yield Finding.at(
            task.merged.place("metadata", "language"),
            "unknown-value",
            f"the task says {task.language!r}, its dataset {entry.language!r}",
            "make them agree",
            task.name,
        )
    yield from _terms(task, entry, folders)
    try:
        source = resolve(entry.key, data_dir, "folder-or-samples" if data_dir else "samples", folders)
    except DataError as error:
        yield from_error(error, "no-samples", place, task.name)
        return
    faults = faults_in(source, folders)
    yield from (from_error(error, "faulty-documents", place, task.name) for error in faults)
    if faults:
        return
    try:
        reading = read(source, folders)
    except DataError as error:
        yield from_error(error, "faulty-documents", place, task.name)
        return
    for aside in reading.set_aside if source.is_samples else ():
        fault = DataError(
            aside.reason, where=aside.where, hint="samples must be scorable; correct or remove the row"
        )
        yield from_error(fault, "unscored-document", place, task.name)
    documents = reading.documents
    yield from _leaks(task, entry, documents)
    if len(documents["test"]) < _SAMPLES:
        yield Finding(
            entry.samples,
            None,
            "no-samples",
            f"{len(documents['test'])} sample documents for the test, expected at least {_SAMPLES}",
            "write more",
            task.name,
        )


def check_registers(folders: Sequence[Path]) -> Iterator[Finding]:
    """Check that the registers of datasets in folders from outside can be read, and give no name twice."""
    known = readable_register(folders)
    contested = ((Path(error.where or ""), error) for error in known.contested.values())
    for path, error in (*known.faults, *contested):
        yield from_error(error, "faulty-register", Place(path))


def _terms(task: TaskDefinition, entry: DatasetEntry, folders: Sequence[Path]) -> Iterator[Finding]:
    place = task.merged.place("metadata", "dataset")
    for field in ("licence", "citation"):
        if not getattr(entry, field):
            yield Finding.at(
                place,
                f"missing-{field}",
                f"the dataset {entry.key!r} states no {field}",
                "add it to sources.yaml",
                task.name,
            )
    pinned = any(path in pinned_files(folders) for path in entry.expected_files)
    hub = entry.hub
    if hub is not None and hub.revision is not None and not _COMMIT.fullmatch(hub.revision):
        yield Finding.at(
            place,
            "unpinned-source",
            f"the hub revision {hub.revision!r} of {entry.key!r} is no commit, so it can move",
            "give the 40 digits of a commit, or null to say that none is pinned",
            task.name,
        )
    elif (
        not pinned
        and not (hub is not None and hub.revision_stated)
        and (hub is not None or _has_files(entry))
    ):
        yield Finding.at(
            place,
            "unpinned-source",
            f"nothing says which version of {entry.key!r} is meant",
            "pin a file by its sha256, or give its place on the hub a revision (null: none is pinned)",
            task.name,
        )


def _has_files(entry: DatasetEntry) -> bool:
    """Whether the register names files; a dataset without any lies beside its task and changes with it."""
    return any(choice.path != f"{entry.key}.jsonl" for split in entry.splits for choice in split.choices)


def _leaks(
    task: TaskDefinition, entry: DatasetEntry, documents: Mapping[str, Sequence[Document]]
) -> Iterator[Finding]:
    tested = {question_key(document): document["id"] for document in documents["test"]}
    for example in documents.get("dev", ()):
        twin = tested.get(question_key(example))
        if twin is not None:
            yield Finding(
                entry.samples,
                None,
                "fewshot-leak",
                f"the example {example['id']!r} is the test document {twin!r}",
                "remove one of them",
                task.name,
            )


@lru_cache(maxsize=1)
def _reading_environment() -> Any:
    """An environment that parses templates and computes nothing, not even of constants, as ``'a' * 10**10``.

    Operators that are intercepted, and filters and tests that ask for a context, are left to the rendering.
    """
    from jinja2 import pass_context
    from jinja2.sandbox import SandboxedEnvironment

    @pass_context
    def never(*_: Any) -> None:
        """Stands for a filter or test, which are not called here."""

    class Reading(SandboxedEnvironment):
        intercepted_binops = frozenset(SandboxedEnvironment.default_binop_table)
        intercepted_unops = frozenset(SandboxedEnvironment.default_unop_table)

    environment = Reading(autoescape=False)
    environment.filters = dict.fromkeys(environment.filters, never)
    environment.tests = dict.fromkeys(environment.tests, never)
    return environment


def _columns_of(value: str) -> tuple[frozenset[str], bool]:
    """Names that a template reads, and whether it reads any."""
    from jinja2 import meta

    environment = _reading_environment()
    names = frozenset(meta.find_undeclared_variables(environment.parse(value)))
    return names - set(environment.globals), bool(names)


def check_columns(task: TaskDefinition, folders: Sequence[Path]) -> Iterator[Finding]:
    """Check that templates read columns that the documents have."""
    import jinja2

    if not task.own_data:
        return
    entry = readable_register(folders).datasets.get(task.dataset or "")
    values: Mapping[str, Any] = task.merged.values
    process = values.get("process_docs")
    # Filters leave the columns as they are; any other function may add some.
    if entry is None or (process is not None and not str(getattr(process, "name", "")).startswith(_FILTERS)):
        return
    known = (*EXAM_COLUMNS, ANNOTATIONS) if entry.schema == "exam" else PROMPTCBLUE_COLUMNS
    for key in ("doc_to_text", "doc_to_target", "doc_to_choice"):
        value = values.get(key)
        place = task.merged.place(key)
        odd = [one for one in value if not isinstance(one, str)] if isinstance(value, list) else []
        if key == "doc_to_choice" and odd:
            yield Finding.at(
                place,
                "truth-value",
                f"the choice {odd[0]!r:.60} is no word",
                "put them in quotes; YAML takes no, yes, on, off and numbers for more than words",
                task.name,
            )
        if isinstance(value, (int, float, list)) and key != "doc_to_choice":
            yield Finding.at(
                place,
                "constant-template",
                f"{key} is {value!r:.40} for every document",
                "name a column, or use {{column}}",
                task.name,
            )
        if not isinstance(value, str) or value in known:
            continue
        try:
            names, reads = _columns_of(value)
        except jinja2.TemplateError as error:
            yield Finding.at(
                place,
                "template-syntax",
                f"the template cannot be parsed: {error}",
                "correct the template there",
                task.name,
            )
            continue
        for name in sorted(names - set(known)):
            close = nearest(name, known, n=1)
            yield Finding.at(
                place,
                "unknown-column",
                f"the template reads {name!r}, which the documents do not have",
                f"did you mean {close!r}?" if close else f"they have {', '.join(known)}",
                task.name,
            )
        if not reads and key != "doc_to_choice":
            close = nearest(value.strip(), known, n=1)
            yield Finding.at(
                place,
                "constant-template",
                f"{key} is the same text for every document",
                f"did you mean the column {close!r}?" if close else "name a column, or use {{column}}",
                task.name,
            )
