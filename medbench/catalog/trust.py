"""What a task from outside may do without leave: nothing that runs code of its own.

lm-eval imports the functions that a YAML names, renders its Jinja templates outside a sandbox, and loads
metrics that it does not know from the hub, each of which can run anything. Definitions from outside therefore
keep to medbench's own functions, to a small part of Jinja and to lm-eval's own metrics, unless
``--allow-code`` is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from medbench.catalog.modules import module_names, own_module
from medbench.catalog.reading import Function, Key
from medbench.catalog.tasks import Place, TaskDefinition, functions_in
from medbench.errors import CatalogError

__all__ = ["LM_EVAL_METRICS", "CodeUse", "code_uses", "require_trust"]

# Modules whose public functions take documents and answers and touch nothing else.
_OWN_MODULES = ("medbench.data.filters", "medbench.scoring")
_LOADER = "medbench.data.load"

# Builders of the datasets library that read plain data; others unpickle.
_PLAIN_BUILDERS = frozenset({"arrow", "csv", "json", "parquet", "text"})

# lm-eval 0.4.13's registered metrics; a name that is not among them is looked up on the hub and run.
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

# fmt: off
_FILTERS = frozenset([
    "abs", "capitalize", "count", "d", "default", "e", "escape", "first", "float", "int", "join", "last",
    "length", "list", "lower", "replace", "reverse", "round", "string", "title", "tojson", "trim",
    "truncate", "upper", "wordcount",
])
_METHODS = frozenset([
    "capitalize", "count", "endswith", "find", "get", "index", "items", "join", "keys", "lower", "lstrip",
    "removeprefix", "removesuffix", "replace", "rfind", "rstrip", "split", "splitlines", "startswith",
    "strip", "title", "upper", "values",
])
_NODES = frozenset([
    "Add", "And", "Assign", "Call", "Compare", "Concat", "CondExpr", "Const", "Dict", "Div", "Filter",
    "FloorDiv", "For", "Getattr", "Getitem", "If", "List", "Mod", "Mul", "Name", "Neg", "Not", "Operand",
    "Or", "Output", "Pair", "Pos", "Slice", "Sub", "Template", "TemplateData", "Test", "Tuple",
])
# fmt: on
_GLOBALS = frozenset({"range"})


class CodeUse(NamedTuple):
    """Something in a definition that runs code.

    Attributes:
        place: Where it is written.
        what: What it is.
    """

    place: Place
    what: str


def _is_own(function: Function) -> bool:
    # A module beside the YAML goes before the package, so a folder `medbench/` there makes the name foreign.
    if function.local_file is not None:
        return False
    if function.name == _LOADER:
        return True
    module, _, name = function.name.rpartition(".")
    if not any(module == own or module.startswith(f"{own}.") for own in _OWN_MODULES):
        return False
    # Only what a module offers: names that it merely imports can be anything.
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


def _template_fault(text: str) -> str | None:
    """What a template does beyond filling in columns; None when it is harmless or no template at all."""
    if "{{" not in text and "{%" not in text:
        return None
    import jinja2
    from jinja2 import nodes

    try:
        tree = jinja2.Environment(autoescape=False).parse(text)  # noqa: S701 parsed, never rendered
    except jinja2.TemplateError:
        # A template that does not parse cannot run; the check of its rendering reports it.
        return None
    for node in tree.find_all(nodes.Node):
        kind = type(node).__name__
        if kind not in _NODES:
            return f"the template uses {kind}"
        if isinstance(node, nodes.Getattr) and (node.attr.startswith("_") or node.attr.startswith("format")):
            return f"the template reads .{node.attr}"
        if isinstance(node, nodes.Getitem) and not _plain_subscript(node.arg):
            return "the template reads a computed item"
        if isinstance(node, nodes.Filter) and node.name not in _FILTERS:
            return f"the template uses the filter {node.name}"
        if isinstance(node, nodes.Filter) and any(keyword.key == "attribute" for keyword in node.kwargs):
            return "the template reads an attribute in a filter"
        if isinstance(node, nodes.Call) and not _plain_call(node.node):
            return "the template calls something"
    return None


def _plain_subscript(node: Any) -> bool:
    from jinja2 import nodes

    if isinstance(node, nodes.Const):
        return isinstance(node.value, int) or (isinstance(node.value, str) and not node.value.startswith("_"))
    if isinstance(node, (nodes.Slice, nodes.Neg)):
        return True
    if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name):
        return node.node.name == "loop" and node.attr in ("index", "index0")
    # x[letters.index(answer)]: these methods of texts and lists give numbers, which name no attribute.
    return (
        isinstance(node, nodes.Call)
        and isinstance(node.node, nodes.Getattr)
        and node.node.attr in ("index", "find", "rfind", "count")
    )


def _plain_call(node: Any) -> bool:
    from jinja2 import nodes

    if isinstance(node, nodes.Name):
        return node.name in _GLOBALS
    return isinstance(node, nodes.Getattr) and node.attr in _METHODS


def code_uses(task: TaskDefinition) -> Iterator[CodeUse]:
    """Everything in a definition that can run code other than medbench's own."""
    values, merged = task.merged.values, task.merged
    for way, function in functions_in(values):
        if not _is_own(function):
            file = function.local_file
            source = f" in {file}" if file else ""
            yield CodeUse(merged.place(*way), f"!function {function.name}{source}")
    for key in ("class", "unsafe_code"):
        if values.get(key):
            yield CodeUse(merged.place(key), f"{key}: {values[key]}")
    builder = values.get("dataset_path")
    if isinstance(builder, str) and "/" not in builder and builder not in _PLAIN_BUILDERS:
        yield CodeUse(merged.place("dataset_path"), f"dataset_path: {builder} may unpickle")
    arguments = values.get("dataset_kwargs")
    if isinstance(arguments, dict) and arguments.get("trust_remote_code"):
        yield CodeUse(merged.place("dataset_kwargs", "trust_remote_code"), "trust_remote_code: true")
    for way, text in _texts(dict(values), ()):
        fault = _template_fault(text)
        if fault:
            yield CodeUse(merged.place(*way), fault)
    metrics = values.get("metric_list")
    for index, metric in enumerate(metrics if isinstance(metrics, list) else ()):
        name = metric.get("metric") if isinstance(metric, dict) else None
        from_hub = isinstance(metric, dict) and metric.get("hf_evaluate")
        if isinstance(name, str) and (
            from_hub or (name not in LM_EVAL_METRICS and "process_results" not in values)
        ):
            yield CodeUse(
                merged.place("metric_list", index), f"the metric {name!r} would be loaded from the hub"
            )


def require_trust(tasks: Iterable[TaskDefinition]) -> None:
    """Refuse definitions that would run code of their own.

    Raises:
        CatalogError: If one does; names the task, the place and the files.
    """
    uses = [(task, use) for task in tasks for use in code_uses(task)]
    if not uses:
        return
    shown = "; ".join(f"{use.what} ({use.place})" for _, use in uses[:5])
    more = f"; and {len(uses) - 5} more" if len(uses) > 5 else ""
    raise CatalogError(
        f"the task {uses[0][0].name!r} from outside would run code of its own: {shown}{more}",
        where=str(uses[0][1].place),
        hint="read those files, then allow them with --allow-code",
    )
