"""The index: shipped definitions and those of further folders, by name, group and tag."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from medbench.catalog.groups import GroupDefinition, define_group
from medbench.catalog.tasks import TaskDefinition, TaskReader, define_task, definitions_folder, task_files
from medbench.errors import CatalogError

Definition = TaskDefinition | GroupDefinition


class NameTakenError(CatalogError):
    """Two definitions of one folder have one name."""


@dataclass(frozen=True)
class TaskIndex:
    """All definitions that can be selected by name.

    Attributes:
        tasks: Leaf tasks by name.
        groups: Groups by name.
        tags: Names of tasks by tag, in the order of the index.
        folders: Folders read, the shipped one first.
        faults: Files that cannot be read, or whose name is taken, each with its error.
        shared: Names used in several folders, each with the unambiguous names of the external definitions:
            ``folder/name``.
    """

    tasks: Mapping[str, TaskDefinition]
    groups: Mapping[str, GroupDefinition]
    tags: Mapping[str, tuple[str, ...]]
    folders: tuple[Path, ...]
    faults: tuple[tuple[Path, CatalogError], ...]
    shared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that can be selected."""
        return (*self.tasks, *self.groups, *self.tags)


def read_definition(reader: TaskReader, path: Path) -> Definition:
    """The task or group in a YAML.

    Raises:
        CatalogError: It cannot be read, or defines neither.
    """
    merged = reader.merge(path)
    define = define_group if "group" in merged.values and "class" not in merged.values else define_task
    return define(merged, path, reader.inputs, shipped=reader.shipped)


def build_index(extra_dirs: Iterable[str | Path] = ()) -> TaskIndex:
    """Read all definitions.

    Args:
        extra_dirs: The user's folders, read after the shipped one.

    Raises:
        CatalogError: If a folder does not exist.
    """
    shipped = definitions_folder("tasks")
    extras = [Path(folder).expanduser() for folder in extra_dirs]
    for folder in extras:
        if not folder.is_dir():
            raise CatalogError(
                "the folder of tasks does not exist", where=str(folder), hint="check --tasks-dir"
            )
    folders = tuple(dict.fromkeys([shipped, *extras]))
    names = _Names()
    faults: list[tuple[Path, CatalogError]] = []
    for folder in folders:
        reader = TaskReader(shipped=folder == shipped)
        for path in task_files(folder):
            try:
                names.claim(read_definition(reader, path), folder)
            except CatalogError as error:
                # One faulty file must not hide the others; selecting its task reports the fault.
                faults.append((path, error))
    tasks = {name: d for name, d in names.taken.items() if isinstance(d, TaskDefinition)}
    tags: dict[str, list[str]] = {}
    for task in tasks.values():
        for tag in task.tags:
            tags.setdefault(tag, []).append(task.name)
    return TaskIndex(
        tasks=tasks,
        groups={name: d for name, d in names.taken.items() if isinstance(d, GroupDefinition)},
        tags={tag: tuple(found) for tag, found in tags.items()},
        folders=folders,
        faults=tuple(faults),
        shared={name: tuple(found) for name, found in names.shared.items()},
    )


class _Names:
    """Names taken so far. No definition replaces another, so a name always means the same."""

    def __init__(self) -> None:
        self.taken: dict[str, Definition] = {}
        self.shared: dict[str, list[str]] = {}
        self._owners: dict[str, Path] = {}
        self._shipped_tags: set[str] = set()

    def claim(self, definition: Definition, folder: Path) -> None:
        """Register a definition, with its folder's name in front if another folder has the same name.

        Raises:
            NameTakenError: The name is in the folder twice or a shipped tag, or a tag is a shipped name.
        """
        name = definition.name
        self._keep_tags_apart(definition)
        if name not in self.taken:
            self.taken[name], self._owners[name] = definition, folder
            return
        longer = f"{folder.resolve().name}/{name}"
        if self._owners[name] == folder or longer in self.taken:
            earlier = self.taken[name if self._owners[name] == folder else longer]
            self.shared.setdefault(name, [])
            raise NameTakenError(
                f"the name {name!r} is taken by {earlier.path}",
                where=str(definition.path),
                hint="rename one of them; a name always means the same task",
            )
        self.taken[longer], self._owners[longer] = replace(definition, name=longer), folder
        self.shared.setdefault(name, []).append(longer)

    def _keep_tags_apart(self, definition: Definition) -> None:
        """Refuse external names that are shipped tags, and external tags that are shipped names."""
        tags = definition.tags if isinstance(definition, TaskDefinition) else ()
        if definition.shipped:
            self._shipped_tags.update(tags)
            return
        names = {name for name, earlier in self.taken.items() if earlier.shipped}
        if definition.name in self._shipped_tags:
            what = f"the name {definition.name!r} is taken: it is a tag of shipped tasks"
        elif found := names.intersection(tags):
            what = f"the tag {min(found)!r} is taken: it is the name of a shipped task or group"
        else:
            return
        hint = "choose another word; shipped names and tags keep their meaning"
        raise NameTakenError(what, where=str(definition.path), hint=hint)
