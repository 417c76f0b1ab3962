"""New tasks: a folder with a YAML, its dataset, sample documents and a test, made after one that exists."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from medbench.catalog.index import TaskIndex, build_index
from medbench.catalog.tasks import TaskDefinition
from medbench.checks.keys import PROTOCOLS
from medbench.common.suggest import nearest
from medbench.common.yaml_files import Function
from medbench.data import filters
from medbench.data.documents import ANNOTATIONS, Document
from medbench.data.loading import read, to_datasets
from medbench.data.registry import DatasetEntry, get_entry
from medbench.data.sources import resolve
from medbench.errors import CatalogError

_NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
_TEST_DOCUMENTS, _EXAMPLES = 8, 3

_TEST = '''"""The task's definition, documents and scoring are sound."""

from __future__ import annotations

from pathlib import Path

from medbench.checks import check_tasks


def test_{name}_is_sound() -> None:
    report = check_tasks([Path(__file__).parent])
    assert report.ok, "\\n".join(map(str, report.findings))
    assert "{name}" in report.checked
    assert report.renderings
'''

_REGISTER = """# The dataset of {name}. Say where the documents come from; `medbench tasks check` reads it.
# Real documents go into a data folder as {name}.jsonl, in the form of samples/{name}.jsonl.
benchmarks:
  {name}:
    title: {name}
    schema: {schema}
    language: {language}
    licence: Apache-2.0 (the samples copied from medbench; state that of your own documents)
    citation: not published
    datasets:
      {name}: {{}}
"""


class _Dumper(yaml.SafeDumper):
    """Safe dumping plus ``!function`` and blocks for texts of several lines."""


def _dump_function(dumper: yaml.SafeDumper, function: Function) -> yaml.Node:
    return dumper.represent_scalar("!function", function.name)


def _dump_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = None
    if "\n" in text:
        style = "|" if text.strip("\n") and "\n" in text.strip("\n") else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(Function, _dump_function)
_Dumper.add_representer(str, _dump_text)


def _plainness(task: TaskDefinition) -> tuple[int, int, str]:
    """Orders tasks of a folder: the default protocol before its variants."""
    known = task.protocol in PROTOCOLS
    return (PROTOCOLS.index(task.protocol) if known else len(PROTOCOLS), len(task.name), task.name)


def _model(like: str, index: TaskIndex) -> TaskDefinition:
    """The task to follow: one of that name, or the plainest in a folder of that name."""
    if like in index.tasks:
        return index.tasks[like]
    folder = Path(like).expanduser()
    inside = [
        task
        for task in index.tasks.values()
        if task.folder.name == like or (folder.is_dir() and task.folder.resolve() == folder.resolve())
    ]
    if inside:
        return min(inside, key=_plainness)
    known = {*index.tasks, *(task.folder.name for task in index.tasks.values())}
    close = nearest(like, known)
    raise CatalogError(
        f"there is no task or folder of tasks {like!r} to follow",
        hint=f"did you mean {close}?" if close else "`medbench tasks list` shows all tasks",
    )


def _yaml(name: str, model: TaskDefinition) -> str:
    values: dict[str, Any] = {"task": name}
    values |= {
        key: value
        for key, value in model.merged.values.items()
        if key not in ("task", "metadata", "task_alias")
    }
    metadata = dict(model.merged.values.get("metadata") or {})
    values["metadata"] = {**metadata, "version": 1.0, "dataset": name}
    return yaml.dump(values, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=110)


def _asked(
    model: TaskDefinition, schema: str, documents: Mapping[str, tuple[Document, ...]]
) -> dict[str, tuple[Document, ...]]:
    """The documents that a task asks, where one of the package's filters chooses among them."""
    module, _, name = str(getattr(model.merged.values.get("process_docs"), "name", "")).rpartition(".")
    if module != filters.__name__:
        return dict(documents)
    kept = set(getattr(filters, name)(to_datasets(documents, schema)["test"])["id"])
    return {**documents, "test": tuple(document for document in documents["test"] if document["id"] in kept)}


def _samples(name: str, documents: Mapping[str, tuple[Document, ...]]) -> str:
    lines = []
    for split, count in (("test", _TEST_DOCUMENTS), ("dev", _EXAMPLES)):
        for number, document in enumerate(documents.get(split, ())[:count], start=1):
            own = f"{name}-{split}-{number}"
            # Clusters keep documents together; theirs are renamed along with the ids.
            changed = {**document, "id": own, "cluster": own, "split": split}
            if not changed.get(ANNOTATIONS):
                changed.pop(ANNOTATIONS, None)
            if "sample_id" in changed:
                changed["sample_id"] = own
            lines.append(json.dumps(changed, ensure_ascii=False))
    return "\n".join(lines) + "\n"


def new_task(name: str, like: str, into: str | Path = ".") -> Path:
    """Make a folder with a task to be filled in, which passes its own test from the start.

    Args:
        name: Name of the task, its dataset and its folder.
        like: A task, or a folder of tasks, whose form it takes.
        into: Folder in which the new one is made.

    Returns:
        The new folder.

    Raises:
        CatalogError: If the name is taken or not usable, there is nothing like it, or the folder exists.
    """
    if not _NAME.fullmatch(name):
        raise CatalogError(
            f"the name {name!r} cannot be used",
            hint="lower-case letters, digits and underscores, such as my_exam",
        )
    index = build_index()
    if name in index.names:
        raise CatalogError(
            f"the name {name!r} is taken", hint="choose another; shipped tasks are never replaced"
        )
    model = _model(like, index)
    if model.dataset is None:
        raise CatalogError(f"the task {model.name!r} names no dataset to follow", where=str(model.path))
    entry: DatasetEntry = get_entry(model.dataset)
    documents = _asked(model, entry.schema, read(resolve(entry.key, None, "samples")).documents)
    folder = Path(into).expanduser() / name
    files = {
        folder / f"{name}.yaml": _yaml(name, model),
        folder / "sources.yaml": _REGISTER.format(name=name, schema=entry.schema, language=entry.language),
        folder / "samples" / f"{name}.jsonl": _samples(name, documents),
        folder / f"test_{name}.py": _TEST.format(name=name),
    }
    try:
        folder.mkdir(parents=True)
        for path, text in files.items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except FileExistsError as error:
        raise CatalogError(
            "the folder exists already", where=str(folder), hint="choose another name"
        ) from error
    except OSError as error:
        raise CatalogError(f"the task cannot be written: {error.strerror}", where=str(folder)) from error
    return folder
