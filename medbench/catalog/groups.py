"""Group definitions: members with settings of their own, groups within groups, and what to average."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medbench.catalog.inputs import Inputs
from medbench.catalog.tasks import Merged, TaskDefinition, define_task, digest_of, number, require_words
from medbench.common.yaml_files import Function
from medbench.errors import CatalogError

# Keys of the group itself; any other is a setting of every task in it, as in lm-eval.
_OWN_KEYS = frozenset({"group", "group_alias", "task", "aggregate_metric_list", "metadata", "tag", "include"})


@dataclass(frozen=True)
class Aggregate:
    """An entry of a group's ``aggregate_metric_list``.

    Attributes:
        metric: The metric to average over the group's tasks, including those of inner groups.
        filters: Filter pipelines to average, each separately; ``None`` for all.
        by_size: Whether tasks are weighted by their number of documents.
    """

    metric: str
    filters: tuple[str, ...] | None
    by_size: bool


@dataclass(frozen=True)
class Member:
    """A member of a group as its YAML lists it.

    Attributes:
        name: Task, group or tag.
        settings: Keys that the group sets for it.
        group: The group, if it is defined inside the YAML.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    group: GroupDefinition | None = None


@dataclass(frozen=True)
class GroupDefinition:
    """Several tasks with one name and their average.

    Attributes:
        name: Name that selects it.
        path: Its YAML.
        shipped: Whether it came with medbench.
        alias: Name for people.
        members: Names of tasks, groups and tags, in the order of the YAML.
        entries: The members with the settings that the group gives them.
        settings: Keys that it sets for all tasks in it.
        macro: Whether its score is the plain mean of the members' main scores, sizes ignored.
        aggregates: Averages that lm-eval computes for it.
        version: Version of the group.
        digest: Checksum over the YAML and all it includes.
        merged: The YAML with its includes, for checks.
        inputs: Finds what the tasks that it defines or changes read.
    """

    name: str
    path: Path
    shipped: bool
    alias: str
    members: tuple[str, ...]
    entries: tuple[Member, ...]
    settings: Mapping[str, Any]
    macro: bool
    aggregates: tuple[Aggregate, ...]
    version: float | None
    digest: str
    merged: Merged = field(repr=False, compare=False)
    inputs: Inputs = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The fields for a listing, as plain values."""
        return {
            "name": self.name,
            "alias": self.alias,
            "members": list(self.members),
            "macro": self.macro,
            "version": self.version,
            "shipped": self.shipped,
            "path": str(self.path),
        }


def define_group(merged: Merged, path: Path, inputs: Inputs, *, shipped: bool) -> GroupDefinition:
    """Create the group that a YAML defines.

    Args:
        merged: Its values, and where each came from.
        path: The YAML.
        inputs: Finds what the tasks that the group defines or changes read.
        shipped: Whether it came with medbench.

    Raises:
        CatalogError: It does not list its members, or not which metrics to average.
    """
    require_words(merged, "group")
    return _define(merged, merged.values, str(merged.values["group"]), path, inputs, shipped=shipped)


def with_settings(
    task: TaskDefinition | None, name: str, settings: Mapping[str, Any], group: GroupDefinition
) -> TaskDefinition:
    """Return a task with the settings that a group gives it.

    Args:
        task: The task; ``None`` for one that the group defines by these settings alone.
        name: Its name.
        settings: Keys that replace the task's own values completely.
        group: The group that the settings come from.

    Raises:
        CatalogError: The settings do not define a task.
    """
    base = task.merged if task is not None else Merged(group.path, {}, (), {})
    values = {**base.values, **settings, "task": name}
    source = group.merged.sources[-1]
    owners = {**base.owners, **dict.fromkeys(settings, source)}
    owners.setdefault("task", source)
    merged = Merged(base.path, values, (*base.sources, *group.merged.sources), owners)
    path = task.path if task is not None else group.path
    # The files alone do not say which member of the group this is.
    text = _canonical(settings)
    shipped = group.shipped and (task is None or task.shipped)
    return define_task(merged, path, group.inputs, shipped=shipped, settings=text)


def _canonical(value: Any) -> str:
    """Settings as text that does not depend on where the files are."""
    if isinstance(value, Function):
        return f"!function {value.name}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_canonical(value[key])}" for key in sorted(value, key=str)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_canonical, value)) + "]"
    return repr(value)


def _define(
    merged: Merged, values: Mapping[str, Any], name: str, path: Path, inputs: Inputs, *, shipped: bool
) -> GroupDefinition:
    metadata = values.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    entries = tuple(_entries(merged, values, name, path, inputs, shipped=shipped))
    return GroupDefinition(
        name=name,
        path=path,
        shipped=shipped,
        alias=str(values.get("group_alias") or values["group"]),
        members=tuple(entry.name for entry in entries),
        entries=entries,
        settings={key: value for key, value in values.items() if key not in _OWN_KEYS},
        macro=_is_macro(values, metadata),
        aggregates=tuple(_aggregates(merged, values)),
        version=number(metadata.get("version")),
        digest=digest_of(merged.sources),
        merged=merged,
        inputs=inputs,
    )


def _entries(
    merged: Merged, values: Mapping[str, Any], name: str, path: Path, inputs: Inputs, *, shipped: bool
) -> Iterator[Member]:
    listed = values.get("task")
    fault = CatalogError(
        "a group needs a list of tasks, groups or tags",
        where=str(merged.place("task")),
        hint="write `task:` with one `- name` a line, or `- task: name` with settings below it",
    )
    if not isinstance(listed, list) or not listed:
        raise fault
    for item in listed:
        if isinstance(item, str):
            yield Member(item)
        elif isinstance(item, dict) and isinstance(item.get("group"), str):
            settings = {key: value for key, value in item.items() if key not in _OWN_KEYS}
            inner = None
            if isinstance(item.get("task"), list):
                inner = _define(merged, item, f"{name}::{item['group']}", path, inputs, shipped=shipped)
            yield Member(item["group"], settings, inner)
        elif isinstance(item, dict) and isinstance(item.get("task"), str):
            yield Member(item["task"], {key: value for key, value in item.items() if key != "task"})
        else:
            raise fault


def _aggregates(merged: Merged, values: Mapping[str, Any]) -> Iterator[Aggregate]:
    rules = values.get("aggregate_metric_list") or []
    for rule in rules if isinstance(rules, list) else [rules]:
        if isinstance(rule, dict) and isinstance(rule.get("metric"), Function):
            continue  # functions have no score of their own, and lm-eval averages none
        if not isinstance(rule, dict) or not isinstance(rule.get("metric"), str):
            raise CatalogError(
                "an entry of aggregate_metric_list names no metric",
                where=str(merged.place("aggregate_metric_list")),
                hint="write `- metric: acc`",
            )
        filters = rule.get("filter_list")
        if filters is not None:
            filters = tuple(map(str, filters if isinstance(filters, list) else [filters]))
        yield Aggregate(rule["metric"], filters, rule.get("weight_by_size") is not False)


def _is_macro(values: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """Whether a group averages its members without weights, by its metadata or its aggregation."""
    if "macro" in metadata:
        return bool(metadata["macro"])
    rules = values.get("aggregate_metric_list") or []
    rules = rules if isinstance(rules, list) else [rules]
    return any(isinstance(rule, dict) and rule.get("weight_by_size") is False for rule in rules)
