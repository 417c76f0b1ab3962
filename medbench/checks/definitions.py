"""Checks of what a YAML says, without its documents and without running anything that it names."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from medbench.catalog.code import module_names, own_module
from medbench.catalog.groups import GroupDefinition
from medbench.catalog.index import TaskIndex
from medbench.catalog.tasks import Merged, TaskDefinition, functions_in
from medbench.catalog.trust import LM_EVAL_METRICS
from medbench.checks import keys
from medbench.checks.findings import Finding
from medbench.checks.keys import duplicate_keys, unknown_keys, unknown_task_keys
from medbench.common.suggest import nearest
from medbench.common.yaml_files import Function


def _metadata(task: TaskDefinition) -> Iterator[Finding]:
    merged = task.merged
    metadata = merged.values.get("metadata")
    place = merged.place("metadata")
    if not isinstance(metadata, dict):
        yield Finding.at(
            place, "missing-metadata", "the task has no metadata", "add version, dataset, …", task.name
        )
        return
    for key in keys.REQUIRED_METADATA:
        if key == "dataset" and not task.own_data:
            continue  # it brings its documents itself
        if metadata.get(key) in (None, ""):
            code = "missing-version" if key == "version" else "missing-metadata"
            yield Finding.at(place, code, f"metadata lacks {key!r}", f"add a line `{key}: …`", task.name)
    if "version" in metadata and task.version is None and metadata["version"] is not None:
        yield Finding.at(
            merged.place("metadata", "version"),
            "missing-version",
            f"the version {metadata['version']!r} is no number",
            "use a number such as 1.0",
            task.name,
        )
    for key, known in (("language", keys.LANGUAGES), ("family", keys.FAMILIES), ("protocol", keys.PROTOCOLS)):
        value = metadata.get(key)
        if value not in (None, "", *known):
            yield Finding.at(
                merged.place("metadata", key),
                "unknown-value",
                f"unknown {key} {value!r}",
                f"one of {', '.join(known)}",
                task.name,
            )


def _module_file(function: Function) -> Path | None:
    """The source of the module that a function is in, if it lies beside the YAML or in medbench."""
    return function.local_file or own_module(function.name.rpartition(".")[0])


def _functions(task: TaskDefinition) -> Iterator[Finding]:
    for way, function in functions_in(task.merged.values):
        place = task.merged.place(*way)
        module, _, name = function.name.rpartition(".")
        if not module:
            yield Finding.at(
                place,
                "unresolved-function",
                f"{function.name!r} names no module",
                "write module.function",
                task.name,
            )
            continue
        path = _module_file(function)
        if path is None:
            if (
                module.partition(".")[0] == "medbench"
                or importlib.util.find_spec(module.partition(".")[0]) is None
            ):
                yield Finding.at(
                    place,
                    "unresolved-function",
                    f"there is no module {module!r}, neither beside the YAML nor installed",
                    "check the spelling; the folder of the YAML is searched first",
                    task.name,
                )
            continue
        names = module_names(path)
        # A module with __getattr__ may define names that its source does not show, but lists them.
        if names is not None and name not in names.defined | names.public:
            close = nearest(name, names.public or names.defined, n=1)
            yield Finding.at(
                place,
                "unresolved-function",
                f"the module {module!r} has no {name!r}",
                f"did you mean {close!r}?" if close else f"it is {path}",
                task.name,
            )
        elif names is None:
            yield Finding.at(
                place, "unresolved-function", f"{path} is no valid Python", "correct its syntax", task.name
            )


def _metrics(task: TaskDefinition) -> Iterator[Finding]:
    merged = task.merged
    metrics = merged.values.get("metric_list")
    if not isinstance(metrics, list) or not metrics:
        yield Finding.at(
            merged.place("metric_list"),
            "no-metrics",
            "the task has no metric_list",
            f"add one; lm-eval takes the metrics that it registers for {task.output_type}",
            task.name,
        )
        return
    scored_by_hand = "process_results" in merged.values
    names = []
    for index, metric in enumerate(metrics):
        place = merged.place("metric_list", index)
        if isinstance(metric, dict) and isinstance(metric.get("metric"), Function):
            names.append(metric["metric"].name.rpartition(".")[2])
            continue
        if not isinstance(metric, dict) or not isinstance(metric.get("metric"), str):
            yield Finding.at(
                place, "unknown-metric", "an entry names no metric", "write `- metric: name`", task.name
            )
            continue
        name = metric["metric"]
        names.append(name)
        yield from _metric_arguments(merged, metric, index, task.name)
        if not isinstance(metric.get("higher_is_better"), bool):
            yield Finding.at(
                place,
                "no-direction",
                f"the metric {name!r} does not say whether higher is better",
                "add `higher_is_better: true` (or false)",
                task.name,
            )
        if not scored_by_hand and name not in LM_EVAL_METRICS:
            close = nearest(name, LM_EVAL_METRICS, n=1)
            yield Finding.at(
                place,
                "unknown-metric",
                f"lm-eval has no metric {name!r}",
                (f"did you mean {close!r}? " if close else "") + "Own metrics need `process_results`.",
                task.name,
            )
        aggregation = metric.get("aggregation")
        if aggregation is None:
            if scored_by_hand:
                yield Finding.at(
                    place,
                    "no-aggregation",
                    f"the metric {name!r} has no aggregation",
                    "add `aggregation: mean`, or a function of medbench.scoring.aggregation",
                    task.name,
                )
        elif isinstance(aggregation, str) and aggregation not in keys.AGGREGATIONS:
            close = nearest(aggregation, keys.AGGREGATIONS, n=1)
            yield Finding.at(
                merged.place("metric_list", index, "aggregation"),
                "no-aggregation",
                f"there is no aggregation {aggregation!r}",
                f"did you mean {close!r}?" if close else f"one of {', '.join(sorted(keys.AGGREGATIONS))}",
                task.name,
            )
    if task.main_metric and task.main_metric not in names:
        yield Finding.at(
            merged.place("metadata", "main_metric"),
            "main-metric-missing",
            f"the main metric {task.main_metric!r} is not in metric_list",
            f"one of {', '.join(names)}",
            task.name,
        )


def _metric_arguments(merged: Merged, metric: Mapping[str, Any], index: int, task: str) -> Iterator[Finding]:
    """Keys of an entry that are not lm-eval's own: it hands them to the metric, unless they are slips."""
    known = keys.METRIC_KEYS | keys.METRIC_ARGUMENTS
    for finding in unknown_keys(merged, metric, known, ("metric_list", index), task):
        if finding.hint.startswith("did you mean"):
            yield finding
        else:
            yield finding._replace(code="metric-argument", hint="lm-eval hands it to the metric as it is")


def _splits(task: TaskDefinition) -> Iterator[Finding]:
    values, merged = task.merged.values, task.merged
    if values.get("class"):
        return
    if not values.get("test_split") and not values.get("validation_split"):
        yield Finding.at(
            merged.place("test_split"),
            "no-test-split",
            "no split is scored",
            "add `test_split: test`",
            task.name,
        )
    scored = values.get("test_split") or values.get("validation_split")
    if values.get("num_fewshot") == 0 and not task.own_data:
        return  # lm-eval then takes no examples, whatever is asked for
    if values.get("fewshot_split") and values["fewshot_split"] == scored:
        yield Finding.at(
            merged.place("fewshot_split"),
            "fewshot-leak",
            f"few-shot examples come from the split {scored!r} that is scored",
            "use a split of its own, such as dev",
            task.name,
        )
    apart = ["fewshot_split", "fewshot_config"]
    if not task.own_data:
        apart += ["training_split", *(["validation_split"] if values.get("test_split") else [])]
    if values.get("num_fewshot") and not any(values.get(key) for key in apart):
        yield Finding.at(
            merged.place("num_fewshot"),
            "fewshot-leak",
            "examples are asked for, but no split is set apart for them",
            "add `fewshot_split: dev`; lm-eval would take the test documents",
            task.name,
        )


def _requests(task: TaskDefinition) -> Iterator[Finding]:
    values, merged = task.merged.values, task.merged
    if task.output_type not in keys.OUTPUT_TYPES:
        close = nearest(task.output_type, keys.OUTPUT_TYPES, n=1)
        yield Finding.at(
            merged.place("output_type"),
            "unknown-value",
            f"unknown output_type {task.output_type!r}",
            f"did you mean {close!r}?" if close else f"one of {', '.join(sorted(keys.OUTPUT_TYPES))}",
            task.name,
        )
    if values.get("class") or values.get("use_prompt"):
        return  # the class, or the collection of prompts, says what is asked
    for key in ("doc_to_text", "doc_to_target"):
        # A text that is scored as a whole needs no prompt; a column may be numbered.
        if values.get(key) in (None, "") and not (
            key == "doc_to_text" and task.output_type == "loglikelihood_rolling"
        ):
            yield Finding.at(
                merged.place(key), "no-prompt", f"{key!r} is missing", f"add `{key}: …`", task.name
            )
    if task.output_type == "multiple_choice" and not values.get("doc_to_choice"):
        yield Finding.at(
            merged.place("doc_to_choice"),
            "no-prompt",
            "'doc_to_choice' is missing",
            "name the options",
            task.name,
        )
    if task.output_type != "generate_until":
        return
    settings = values.get("generation_kwargs")
    if not isinstance(settings, dict):
        settings = {}
    yield from unknown_keys(merged, settings, keys.GENERATION_KEYS, ("generation_kwargs",), task.name)
    for key, why in (
        ("max_gen_toks", "lm-eval stops at 256 tokens without a word"),
        ("until", "lm-eval stops at an empty line without a word"),
    ):
        if key not in settings:
            yield Finding.at(
                merged.place("generation_kwargs"),
                "implicit-limit",
                f"generation_kwargs lacks {key!r}",
                f"state it: {why}",
                task.name,
            )
    yield from _drawing(task, settings)
    second = settings.get("second_pass")
    if isinstance(second, dict):
        way = ("generation_kwargs", "second_pass")
        yield from unknown_keys(merged, second, keys.SECOND_PASS_KEYS, way, task.name)


def _drawing(task: TaskDefinition, settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Settings of drawing that contradict each other, or do nothing."""
    sample, temperature = settings.get("do_sample"), settings.get("temperature")
    draws = bool(temperature) if sample is None else sample is True and temperature != 0
    idle = sorted(
        key for key in keys.DRAWING_KEYS & settings.keys() if settings[key] not in (None, 0, 0.0, 1.0)
    )
    place = task.merged.place("generation_kwargs")
    if sample is True and temperature == 0:
        yield Finding.at(
            place,
            "contradiction",
            "do_sample is true, and temperature 0 draws nothing",
            "give a temperature above 0, or do_sample: false",
            task.name,
        )
    elif not draws and idle:
        yield Finding.at(
            place,
            "contradiction",
            f"{', '.join(idle)} without effect: nothing is drawn",
            "add do_sample: true and a temperature, or take them out",
            task.name,
        )
    repeats = task.merged.values.get("repeats")
    if isinstance(repeats, int) and repeats > 1 and not draws:
        yield Finding.at(
            task.merged.place("repeats"),
            "contradiction",
            f"{repeats} repeats of the same answer: nothing is drawn",
            "give a temperature, or take repeats out",
            task.name,
        )


_CHECKS: tuple[Callable[[TaskDefinition], Iterator[Finding]], ...] = (
    _metadata,
    _functions,
    _metrics,
    _splits,
    _requests,
)


def check_task(task: TaskDefinition) -> Iterator[Finding]:
    """Check what a task's YAML says."""
    yield from duplicate_keys(task.merged, task.name)
    yield from unknown_task_keys(task)
    for check in _CHECKS:
        yield from check(task)


def check_group(group: GroupDefinition, index: TaskIndex) -> Iterator[Finding]:
    """Check what a group's YAML says, against the index of what there is."""
    yield from duplicate_keys(group.merged, group.name)
    # Any other key is a setting of the tasks in the group.
    known = keys.GROUP_KEYS | keys.TASK_KEYS
    yield from unknown_keys(group.merged, group.merged.values, known, (), group.name)
    if group.version is None:
        yield Finding.at(
            group.merged.place("metadata"),
            "missing-version",
            "metadata lacks 'version'",
            "add a line `version: 1.0`",
            group.name,
        )
    for number, entry in enumerate(group.entries):
        member = entry.name
        written_out = entry.group is not None or bool(entry.settings)
        if member not in index.names and not written_out:
            close = nearest(member, index.names)
            yield Finding.at(
                group.merged.place("task", number),
                "unknown-member",
                f"there is no task, group or tag {member!r}",
                f"did you mean {close}?" if close else "`medbench tasks list` shows all",
                group.name,
            )
    seen = set()
    for number, member in enumerate(group.members):
        if member in seen:
            yield Finding.at(
                group.merged.place("task", number),
                "duplicate-member",
                f"{member!r} is listed twice",
                "keep one; it would count twice in the average",
                group.name,
            )
        seen.add(member)
    if _reaches(group.name, group.members, index):
        yield Finding.at(
            group.merged.place("task"), "group-cycle", "the group contains itself", "take it out", group.name
        )


def _reaches(name: str, members: tuple[str, ...], index: TaskIndex) -> bool:
    waiting, seen = list(members), set()
    while waiting:
        member = waiting.pop()
        if member == name:
            return True
        if member in index.groups and member not in seen:
            seen.add(member)
            waiting += index.groups[member].members
    return False
