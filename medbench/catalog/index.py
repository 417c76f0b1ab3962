"""The index: shipped definitions and those of further folders, by name, group and tag."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from medbench.catalog.paths import definitions_folder
from medbench.catalog.tasks import Definition, GroupDefinition, TaskDefinition, TaskReader, task_files
from medbench.errors import CatalogError

__all__ = ["TaskIndex", "build_index"]


@dataclass(frozen=True)
class TaskIndex:
    """All definitions that can be asked for.

    Attributes:
        tasks: Leaf tasks by name.
        groups: Groups by name.
        tags: Names of tasks by tag, in the order of the index.
        folders: Folders read, the shipped one first.
        faults: Files that could not be read, each with its error.
    """

    tasks: Mapping[str, TaskDefinition]
    groups: Mapping[str, GroupDefinition]
    tags: Mapping[str, tuple[str, ...]]
    folders: tuple[Path, ...]
    faults: tuple[tuple[Path, CatalogError], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that can be asked for."""
        return (*self.tasks, *self.groups, *self.tags)


def _claim(taken: dict[str, Definition], definition: Definition) -> None:
    earlier = taken.get(definition.name)
    if earlier is None:
        taken[definition.name] = definition
        return
    whose = "a shipped task or group" if earlier.shipped else str(earlier.path)
    raise CatalogError(
        f"the name {definition.name!r} is taken by {whose}",
        where=str(definition.path),
        hint="rename it; a definition never replaces another, so that a name always means the same task",
    )


def build_index(extra_dirs: Iterable[str | Path] = ()) -> TaskIndex:
    """Read all definitions.

    Args:
        extra_dirs: Folders of the user's, read after the shipped ones.

    Raises:
        CatalogError: If a folder does not exist, or two definitions have one name.
    """
    shipped = definitions_folder("tasks")
    extras = [Path(folder).expanduser() for folder in extra_dirs]
    for folder in extras:
        if not folder.is_dir():
            raise CatalogError(
                "the folder of tasks does not exist", where=str(folder), hint="check --tasks-dir"
            )
    folders = tuple(dict.fromkeys([shipped, *extras]))
    taken: dict[str, Definition] = {}
    faults: list[tuple[Path, CatalogError]] = []
    for folder in folders:
        reader = TaskReader(shipped=folder == shipped)
        for path in task_files(folder):
            try:
                definition = reader.read(path)
            except CatalogError as error:
                # One broken file must not hide the others; whoever asks for its task is told.
                faults.append((path, error))
                continue
            _claim(taken, definition)
    tasks = {name: d for name, d in taken.items() if isinstance(d, TaskDefinition)}
    tags: dict[str, list[str]] = {}
    for task in tasks.values():
        for tag in task.tags:
            tags.setdefault(tag, []).append(task.name)
    return TaskIndex(
        tasks=tasks,
        groups={name: d for name, d in taken.items() if isinstance(d, GroupDefinition)},
        tags={tag: tuple(names) for tag, names in tags.items()},
        folders=folders,
        faults=tuple(faults),
    )
