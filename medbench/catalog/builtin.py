"""The tasks that come with lm-eval, under names of their own: ``lm_eval/NAME``.

lm-eval takes seconds to list its tasks, so they are looked up only when one is requested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from medbench.catalog.groups import GroupDefinition
from medbench.catalog.index import TaskIndex, read_definition
from medbench.catalog.tasks import TaskDefinition, TaskReader
from medbench.errors import CatalogError

#: Prefix of the names of lm-eval's tasks.
PREFIX = "lm_eval/"

Value = TypeVar("Value")


def is_builtin(name: str) -> bool:
    """Whether a name is that of a task that comes with lm-eval."""
    return name.startswith(PREFIX)


@cache
def builtin_index() -> TaskIndex:
    """Index of everything that comes with lm-eval, by lm-eval's names.

    Definitions are read when they are accessed.

    Raises:
        CatalogError: A definition cannot be read (raised when it is accessed).
    """
    entries = _entries()
    kinds: dict[str, dict[str, Path]] = {"TASK": {}, "PY_TASK": {}, "GROUP": {}}
    for name, entry in entries.items():
        if entry.yaml_path is not None and entry.kind.name in kinds:
            kinds[entry.kind.name][name] = entry.yaml_path
    reader = TaskReader(shipped=False)

    def read(path: Path) -> Any:
        return read_definition(reader, path)

    tasks: Mapping[str, TaskDefinition] = _OnDemand(kinds["TASK"] | kinds["PY_TASK"], read)
    groups: Mapping[str, GroupDefinition] = _OnDemand(kinds["GROUP"], read)
    tags = {
        name: tuple(task for task in sorted(entry.tags) if task in tasks)
        for name, entry in entries.items()
        if entry.kind.name == "TAG"
    }
    return TaskIndex(tasks, groups, tags, (), ())


def refuse_unsafe(tasks: Iterable[TaskDefinition]) -> None:
    """Refuse tasks that execute code written by the model; lm-eval's own code is trusted.

    Raises:
        CatalogError: A task is marked ``unsafe_code``.
    """
    for task in tasks:
        if task.merged.values.get("unsafe_code"):
            raise CatalogError(
                f"the task {task.name!r} runs code that the model writes (unsafe_code: true)",
                where=str(task.merged.place("unsafe_code")),
                hint="allow it with --allow-code, on a machine where such code can do no harm",
            )


class _OnDemand(Mapping[str, Value]):
    """Definitions by name, each read when it is accessed."""

    def __init__(self, paths: Mapping[str, Path], read: Callable[[Path], Value]) -> None:
        self._paths, self._read = paths, read

    def __getitem__(self, name: str) -> Value:
        return self._read(self._paths[name])

    def __contains__(self, name: object) -> bool:
        return name in self._paths

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def _entries() -> Mapping[str, Any]:
    """lm-eval's tasks, groups and tags by name."""
    # Both must be imported before anything else registers, or the built-in metrics and models vanish.
    import lm_eval.api.metrics
    import lm_eval.models  # noqa: F401
    from lm_eval.tasks import TaskManager

    found: Mapping[str, Any] = TaskManager(include_defaults=True).task_index
    return found
