"""Trust in external tasks: they may not run their own code or read beyond their folders without permission.

lm-eval imports the functions that a YAML names, renders its Jinja templates outside a sandbox, reads data
from any location and loads unknown metrics from the hub. Unless ``--allow-code`` is given, external
definitions may therefore use only medbench's own functions, templates of their documents' columns, data in
their own folders and on the hub, and lm-eval's own metrics.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from medbench.catalog.code import module_names, own_module
from medbench.catalog.index import Definition
from medbench.catalog.reach import Folders, data_faults
from medbench.catalog.tasks import LOADER, Merged, Place, TaskDefinition, definitions_folder
from medbench.common.yaml_files import Function, Key
from medbench.errors import CatalogError

# Modules whose functions, as far as `__all__` lists them, take documents and answers and touch nothing else.
_OWN_MODULES = ("medbench.data.filters", "medbench.scoring")
# The one key whose function gets arguments from the YAML, and the one function allowed there.
_LOADER_KEY = "custom_dataset"
# No task needs more answers to one request.
_MOST_REPEATS = 10_000

# lm-eval 0.4.13's registered metrics; it would look up any other name on the hub and run what it finds.
LM_EVAL_METRICS = frozenset(
    {
        "acc",
        "acc_all",
        "acc_bytes",
        "acc_mutual_info",
        "acc_norm",
        "bits_per_byte",
        "bleu",
        "brier_score",
        "bypass",
        "byte_perplexity",
        "chrf",
        "chrf++",
        "exact_match",
        "f1",
        "likelihood",
        "mcc",
        "perplexity",
        "ter",
        "word_perplexity",
    }
)


class CodeUse(NamedTuple):
    """Something in a definition that runs code, or reaches beyond the definition.

    Attributes:
        place: Where it is written.
        what: What it is.
    """

    place: Place
    what: str


def _is_own(way: Key, function: Function) -> bool:
    # A module beside the YAML takes precedence, so a folder `medbench/` there makes the name an external one.
    if function.local_file is not None:
        return False
    if _LOADER_KEY in way:
        return function.name == LOADER
    module, _, name = function.name.rpartition(".")
    if not any(module == own or module.startswith(f"{own}.") for own in _OWN_MODULES):
        return False
    # Only names that a module defines: those that it imports can be anything.
    path = own_module(module)
    names = module_names(path) if path else None
    return names is not None and name in names.public


def _texts(value: Any, way: Key) -> Iterator[tuple[Key, str]]:
    if isinstance(value, str):
        yield way, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, (*way, str(key)))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, (*way, index))


def _functions(merged: Merged) -> Iterator[CodeUse]:
    """External functions of every file; lm-eval also imports those that a later key replaces."""
    for source in merged.sources:
        for way, line, function in source.functions:
            if not _is_own(way, function):
                file = function.local_file
                beside = f" in {file}" if file else ""
                yield CodeUse(Place(source.path, line), f"!function {function.name}{beside}")


def _metrics(merged: Merged) -> Iterator[CodeUse]:
    """Metrics that lm-eval would look up on the hub because it does not know them."""
    metrics = merged.values.get("metric_list")
    own_scores = merged.values.get("process_results") is not None
    for index, metric in enumerate(metrics if isinstance(metrics, list) else ()):
        if not isinstance(metric, Mapping) or isinstance(metric.get("metric"), Function):
            continue
        name = metric.get("metric")
        known = own_scores or (isinstance(name, str) and name in LM_EVAL_METRICS)
        if metric.get("hf_evaluate") or not known:
            place = merged.place("metric_list", index)
            yield CodeUse(place, f"the metric {name!r} would be loaded from the hub")


def _outside_files(merged: Merged, folders: Folders) -> Iterator[CodeUse]:
    shipped = definitions_folder("tasks").resolve()
    for source in merged.sources:
        if not folders.hold(source.path) and not source.path.resolve().is_relative_to(shipped):
            yield CodeUse(Place(source.path, 1), f"{source.path} lies outside its folders")


def code_uses(
    definition: Definition, tasks_dirs: Sequence[Path] = (), data_dir: str | os.PathLike[str] | None = None
) -> Iterator[CodeUse]:
    """Find everything in a definition that can run external code or reach beyond its folders.

    Args:
        definition: The task or group.
        tasks_dirs: The user's folders of definitions.
        data_dir: The data folder of the run.
    """
    values, merged = definition.merged.values, definition.merged
    yield from _functions(merged)
    folders = Folders.of((*tasks_dirs, definition.path.parent), data_dir)
    yield from _outside_files(merged, folders)
    if not isinstance(definition, TaskDefinition):
        return
    if "class" in values and not isinstance(values["class"], Function):
        yield CodeUse(merged.place("class"), f"class: {values['class']}")
    if values.get("unsafe_code", False) is not False:
        yield CodeUse(merged.place("unsafe_code"), f"unsafe_code: {values['unsafe_code']}")
    repeats = values.get("repeats")
    if isinstance(repeats, int) and repeats > _MOST_REPEATS:
        yield CodeUse(merged.place("repeats"), f"repeats: {repeats}")
    for way, fault in data_faults(values, folders):
        yield CodeUse(merged.place(*way), fault)
    yield from _templates(merged)
    yield from _metrics(merged)


def _templates(merged: Merged) -> Iterator[CodeUse]:
    for way, text in _texts(dict(merged.values), ()):
        if "{{" in text or "{%" in text:
            from medbench.catalog.sandbox import template_fault

            fault = template_fault(text)
            if fault:
                yield CodeUse(merged.place(*way), fault)


def require_trust(
    definitions: Sequence[Definition],
    tasks_dirs: Sequence[Path] = (),
    data_dir: str | os.PathLike[str] | None = None,
) -> None:
    """Refuse definitions that would run their own code or reach beyond their folders.

    Args:
        definitions: External tasks and groups.
        tasks_dirs: The user's folders of definitions.
        data_dir: The data folder of the run.

    Raises:
        CatalogError: If one would; names the task, the line and the files.
    """
    uses = [(one, use) for one in definitions for use in code_uses(one, tasks_dirs, data_dir)]
    if not uses:
        return
    shown = "; ".join(f"{use.what} ({use.place})" for _, use in uses[:5])
    more = f"; and {len(uses) - 5} more" if len(uses) > 5 else ""
    raise CatalogError(
        f"the task {uses[0][0].name!r} from outside would run code of its own or reach beyond its folders: "
        f"{shown}{more}",
        where=str(uses[0][1].place),
        hint="read those files, then allow them with --allow-code",
    )
