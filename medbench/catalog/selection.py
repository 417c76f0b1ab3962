"""Resolution of the names that a user gives to tasks and groups."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from medbench.catalog.builtin import PREFIX, builtin_index, is_builtin, refuse_unsafe
from medbench.catalog.groups import GroupDefinition, Member, with_settings
from medbench.catalog.index import Definition, NameTakenError, TaskIndex, build_index
from medbench.catalog.tasks import TaskDefinition
from medbench.catalog.trust import require_trust
from medbench.common.suggest import nearest
from medbench.errors import CatalogError


@dataclass(frozen=True)
class Selection:
    """The tasks and groups that were selected.

    Attributes:
        tasks: Leaf tasks, each once, in the order of the names.
        groups: Selected groups and the groups within them, outer ones first. Their members are tasks and
            groups; tags are replaced by their tasks.
        folders: Folders with definitions, the shipped one first.
    """

    tasks: tuple[TaskDefinition, ...]
    groups: tuple[GroupDefinition, ...]
    folders: tuple[Path, ...]


def select(names: Sequence[str], index: TaskIndex) -> Selection:
    """Resolve names against an index.

    Args:
        names: Tasks, groups, tags, or patterns with ``*`` over the names of tasks.
        index: The definitions to choose from.

    Raises:
        CatalogError: If a name is unknown or ambiguous, groups contain each other, or a task is selected with
            two different settings.
    """
    found = _Found(index)
    for name in names:
        found.add(name)
    return Selection(tuple(found.tasks.values()), tuple(found.groups.values()), index.folders)


def resolve_tasks(
    names: Sequence[str],
    extra_dirs: Iterable[str | Path] = (),
    *,
    allow_code: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
) -> Selection:
    """Find tasks and groups by name.

    Args:
        names: Tasks, groups, tags, or patterns with ``*`` over the names of tasks; names that begin with
            ``lm_eval/`` select tasks that come with lm-eval.
        extra_dirs: The user's folders with more definitions.
        allow_code: Whether definitions from those folders may run their own Python code.
        data_dir: The data folder of the run, from which they may read.

    Raises:
        CatalogError: If a name is unknown (similar ones are suggested), a folder is faulty, or a selected
            external task would run code that is not allowed.
    """
    if not names:
        raise CatalogError(
            "no task was selected", hint="name tasks, groups or tags; `medbench tasks list` shows them"
        )
    own = select([name for name in names if not is_builtin(name)], build_index(extra_dirs))
    if not allow_code:
        # Before lm-eval's own are added, whose names no external task can have.
        require_trust([one for one in _chosen(own) if not one.shipped], own.folders[1:], data_dir)
    if not any(map(is_builtin, names)):
        return own
    theirs = _select_builtin([name for name in names if is_builtin(name)])
    if not allow_code:
        refuse_unsafe(theirs.tasks)
    ours = {one.name: one.path for one in _chosen(own)}
    for one in _chosen(theirs):
        if one.name in ours:
            raise CatalogError(
                f"the name {one.name!r} is of one of lm-eval's own and of one from outside",
                where=str(ours[one.name]),
                hint="rename the latter; a run has one score for each name",
            )
    return Selection(own.tasks + theirs.tasks, own.groups + theirs.groups, own.folders)


def _select_builtin(names: Sequence[str]) -> Selection:
    """Find tasks, groups and tags that come with lm-eval, under the names that they have here."""
    try:
        found = select([name.removeprefix(PREFIX) for name in names], builtin_index())
    except CatalogError as error:
        raise CatalogError(
            f"{error.what} among those that come with lm-eval", where=error.where, hint=error.hint
        ) from error
    tasks = tuple(replace(task, name=PREFIX + task.name, builtin=True) for task in found.tasks)
    groups = tuple(
        replace(group, name=PREFIX + group.name, members=tuple(PREFIX + member for member in group.members))
        for group in found.groups
    )
    return Selection(tasks, groups, ())


def _chosen(selection: Selection) -> tuple[Definition, ...]:
    return (*selection.tasks, *selection.groups)


class _Found:
    """The tasks and groups found so far."""

    def __init__(self, index: TaskIndex) -> None:
        self.tasks: dict[str, TaskDefinition] = {}
        self.groups: dict[str, GroupDefinition] = {}
        self._index = index

    def add(self, name: str) -> None:
        """Add the tasks or the group that a name selects."""
        index = self._index
        if name in index.shared:
            raise self._ambiguous(name)
        if name in index.tasks:
            self._task(name, index.tasks[name], {}, None)
        elif name in index.groups:
            self._group(index.groups[name], {}, ())
        elif name in index.tags:
            for member in index.tags[name]:
                self._task(member, index.tasks[member], {}, None)
        elif "*" in name and (matches := [task for task in index.tasks if fnmatchcase(task, name)]):
            for match in matches:
                self._task(match, index.tasks[match], {}, None)
        else:
            raise self._unknown(name)

    def _task(
        self,
        name: str,
        task: TaskDefinition | None,
        settings: Mapping[str, Any],
        group: GroupDefinition | None,
    ) -> str:
        if group is not None and (settings or task is None):
            task = with_settings(task, name, settings, group)
        assert task is not None
        earlier = self.tasks.setdefault(name, task)
        if (earlier.path, earlier.settings) != (task.path, task.settings):
            raise CatalogError(
                f"the task {name!r} is asked for with different settings",
                where=str(task.merged.place("task") if group is None else group.path),
                hint="select one of them at a time; a run has one score for each name",
            )
        return name

    def _group(self, group: GroupDefinition, settings: Mapping[str, Any], within: tuple[str, ...]) -> str:
        if group.name in within:
            raise CatalogError(
                f"groups contain each other: {' > '.join((*within, group.name))}",
                where=str(group.path),
                hint="take one of them out of the other",
            )
        if group.name in self.groups and not settings:
            return group.name
        self.groups[group.name] = group  # before those within it
        members: dict[str, None] = {}
        for entry in group.entries:
            found = self._member(entry, group, {**group.settings, **settings}, (*within, group.name))
            members |= dict.fromkeys(found)
        self.groups[group.name] = replace(group, members=tuple(members))
        return group.name

    def _member(
        self, entry: Member, group: GroupDefinition, outer: Mapping[str, Any], within: tuple[str, ...]
    ) -> list[str]:
        """Names of the tasks or the group that a member selects, settings merged in lm-eval's order."""
        index, name = self._index, self._near(entry.name, group)
        settings = {**outer, **entry.settings}
        if name in index.tasks:
            return [self._task(name, index.tasks[name], settings, group)]
        if name in index.groups:
            return [self._group(index.groups[name], settings, within)]
        if entry.group is not None:
            return [self._group(entry.group, outer, within)]
        if name in index.tags:
            return [self._task(task, index.tasks[task], settings, group) for task in index.tags[name]]
        if entry.settings:
            return [self._task(f"{group.name}::{name}", None, settings, group)]
        raise self._unknown(name, where=str(group.path))

    def _near(self, name: str, group: GroupDefinition) -> str:
        """A name as used in a group: a definition in its own folder takes precedence over others."""
        for longer in () if group.shipped else self._index.shared.get(name, ()):
            twin: Any = self._index.tasks.get(longer) or self._index.groups.get(longer)
            root = longer.partition("/")[0]
            if twin is not None and root in group.path.resolve().parts:
                return longer
        return name

    def _ambiguous(self, name: str) -> CatalogError:
        index, others = self._index, self._index.shared[name]
        first: Any = index.tasks.get(name) or index.groups.get(name)
        if not others:
            return next(
                error
                for _, error in index.faults
                if isinstance(error, NameTakenError) and repr(name) in error.what
            )
        whose = "of a shipped task" if first.shipped else f"of {first.path}"
        return CatalogError(
            f"the name {name!r} is {whose} and of one from outside",
            where=", ".join(
                str(index.tasks[o].path if o in index.tasks else index.groups[o].path) for o in others
            ),
            hint=f"select {' or '.join(others)}, or rename the external one",
        )

    def _unknown(self, name: str, where: str | None = None) -> CatalogError:
        index = self._index
        broken = [f"{path.name}: {error.what}" for path, error in index.faults]
        close = nearest(name, index.names)
        hint = f"did you mean {close}?" if close else "`medbench tasks list` shows all"
        if not close and where is None:
            hint += f"; a task that comes with lm-eval is called lm_eval/{name}"
        if broken:
            hint += f" ({len(broken)} definitions could not be read, the first is {broken[0]})"
        return CatalogError(f"there is no task, group or tag {name!r}", where=where, hint=hint)
