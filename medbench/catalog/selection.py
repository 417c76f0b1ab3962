"""From the names a person gives to the leaf tasks and groups that they mean."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from medbench.catalog.index import TaskIndex, build_index
from medbench.catalog.names import nearest
from medbench.catalog.tasks import Definition, GroupDefinition, TaskDefinition
from medbench.catalog.trust import require_trust
from medbench.errors import CatalogError

__all__ = ["Selection", "resolve_tasks", "select"]


@dataclass(frozen=True)
class Selection:
    """What was asked for.

    Attributes:
        tasks: Leaf tasks, each once, in the order asked for.
        groups: Groups asked for and the groups within them, outer ones first.
        folders: Folders with definitions, the shipped one first.
    """

    tasks: tuple[TaskDefinition, ...]
    groups: tuple[GroupDefinition, ...]
    folders: tuple[Path, ...]


def _unknown(name: str, index: TaskIndex, where: str | None = None) -> CatalogError:
    broken = [f"{path.name}: {error.what}" for path, error in index.faults]
    close = nearest(name, index.names)
    hint = f"did you mean {close}?" if close else "`medbench tasks list` shows all"
    if broken:
        hint += f" ({len(broken)} definitions could not be read, the first is {broken[0]})"
    return CatalogError(f"there is no task, group or tag {name!r}", where=where, hint=hint)


def select(names: Sequence[str], index: TaskIndex) -> Selection:
    """Resolve names against an index.

    Args:
        names: Tasks, groups, tags, or patterns with ``*`` over the names of tasks.
        index: What there is.

    Raises:
        CatalogError: If a name means nothing, or groups contain each other.
    """
    tasks: dict[str, TaskDefinition] = {}
    groups: dict[str, GroupDefinition] = {}

    def add(name: str, within: tuple[str, ...]) -> None:
        if name in within:
            raise CatalogError(
                f"groups contain each other: {' > '.join((*within, name))}",
                where=str(index.groups[name].path),
                hint="take one of them out of the other",
            )
        if name in index.tasks:
            tasks.setdefault(name, index.tasks[name])
        elif name in index.groups:
            group = index.groups[name]
            groups.setdefault(name, group)
            for member in group.members:
                add(member, (*within, name))
        elif name in index.tags:
            for member in index.tags[name]:
                add(member, within)
        elif within:
            raise _unknown(name, index, where=str(index.groups[within[-1]].path))
        elif "*" in name and (matches := [task for task in index.tasks if fnmatchcase(task, name)]):
            for match in matches:
                add(match, within)
        else:
            raise _unknown(name, index)

    for name in names:
        add(name, ())
    return Selection(tuple(tasks.values()), tuple(groups.values()), index.folders)


def resolve_tasks(
    names: Sequence[str],
    extra_dirs: Iterable[str | Path] = (),
    *,
    allow_code: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
) -> Selection:
    """Find the tasks and groups that names mean.

    Args:
        names: Tasks, groups, tags, or patterns with ``*`` over the names of tasks.
        extra_dirs: Folders of the user's with more definitions.
        allow_code: Whether definitions from those folders may run Python of their own.
        data_dir: The data folder of the run, from which they may read.

    Raises:
        CatalogError: If a name is unknown (the nearest ones are suggested), a folder is faulty, or a selected
            task from outside wants to run code without leave.
    """
    if not names:
        raise CatalogError(
            "no task was asked for", hint="name tasks, groups or tags; `medbench tasks list` shows them"
        )
    selection = select(names, build_index(extra_dirs))
    if not allow_code:
        chosen: tuple[Definition, ...] = (*selection.tasks, *selection.groups)
        outside = [one for one in chosen if not one.shipped]
        require_trust(outside, selection.folders[1:], data_dir)
    return selection
