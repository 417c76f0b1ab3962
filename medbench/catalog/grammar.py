"""What a template may contain: names, document keys, and the filters, tests and methods listed here.

A template fills the columns of one document into a text. What it can reach beyond that follows from its
parts: a filter that takes an attribute's name reaches as far as an attribute does, a method as far as its
value. The lists name the parts that reach nothing but a document's values; :mod:`medbench.catalog.sandbox`
holds the rendering to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from jinja2 import nodes
from jinja2.nodes import Node

# Filters with the names of their parameters. `attribute` stands for a path of document keys.
FILTERS: dict[str, tuple[str, ...]] = {
    "abs": (),
    "capitalize": (),
    "count": (),
    "d": ("default_value", "boolean"),
    "default": ("default_value", "boolean"),
    "dictsort": ("case_sensitive", "by", "reverse"),
    "e": (),
    "escape": (),
    "first": (),
    "float": ("default",),
    "int": ("default", "base"),
    "items": (),
    "join": ("d", "attribute"),
    "last": (),
    "length": (),
    "list": (),
    "lower": (),
    "map": ("attribute", "default"),
    "max": ("case_sensitive", "attribute"),
    "min": ("case_sensitive", "attribute"),
    "regex_replace": ("pattern", "repl", "count"),
    "reject": (),
    "rejectattr": (),
    "replace": ("old", "new", "count"),
    "reverse": (),
    "round": ("precision", "method"),
    "select": (),
    "selectattr": (),
    "sort": ("reverse", "case_sensitive", "attribute"),
    "string": (),
    "sum": ("attribute",),
    "title": (),
    "tojson": (),
    "trim": ("chars",),
    "truncate": ("length", "killwords", "end", "leeway"),
    "unique": ("case_sensitive", "attribute"),
    "upper": (),
    "wordcount": (),
}
# Filters whose arguments name another filter or a test, and carry that one's arguments.
CHOOSERS = frozenset({"map", "reject", "rejectattr", "select", "selectattr"})
# fmt: off
TESTS = frozenset([
    "!=", "<", "<=", "==", ">", ">=", "boolean", "defined", "divisibleby", "eq", "equalto", "even",
    "false", "float", "ge", "greaterthan", "gt", "in", "integer", "iterable", "le", "lessthan", "lower", "lt",
    "mapping", "ne", "none", "number", "odd", "sequence", "string", "true", "undefined", "upper",
])
# Methods by type of value; none of them changes it, and none looks into names or attributes.
METHODS: dict[type, frozenset[str]] = {
    str: frozenset([
        "capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha", "isdecimal",
        "isdigit", "islower", "isnumeric", "isspace", "istitle", "isupper", "join", "lower", "lstrip",
        "partition", "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rpartition", "rsplit",
        "rstrip", "split", "splitlines", "startswith", "strip", "swapcase", "title", "upper",
    ]),
    list: frozenset(["count", "index"]),
    tuple: frozenset(["count", "index"]),
    dict: frozenset(["get", "items", "keys", "values"]),
}
LOOP_METHODS = frozenset(["changed", "cycle"])
_NODES = frozenset([
    "Add", "And", "Assign", "AssignBlock", "Call", "Compare", "Concat", "CondExpr", "Const", "Dict", "Div",
    "Filter", "FloorDiv", "For", "Getattr", "Getitem", "If", "Keyword", "List", "Mod", "Mul", "Name",
    "Neg", "Not", "Operand", "Or", "Output", "Pair", "Pos", "Slice", "Sub", "Template", "TemplateData",
    "Test", "Tuple",
])
# Names that Jinja gives every template besides the document's columns.
_NEVER_COLUMNS = frozenset([
    "caller", "cycler", "joiner", "kwargs", "lipsum", "namespace", "self", "super", "varargs",
])
# fmt: on
_FUNCTIONS = frozenset(["range"])
_CALLABLE = frozenset().union(*METHODS.values()) | LOOP_METHODS
_KEY_PATH = re.compile(r"[^\W_]\w*(?:\.\w+)*")
# A template is a page of text; no real one has more parts.
_MAX_NODES = 5_000


def template_faults(tree: nodes.Template) -> Iterator[str]:
    """List what a parsed template does beyond filling in a document's columns."""
    for count, node in enumerate(tree.find_all(Node)):
        if count > _MAX_NODES:
            yield f"the template has more than {_MAX_NODES} parts"
            return
        kind = type(node).__name__
        if kind not in _NODES:
            yield f"the template uses {kind}"
        elif isinstance(node, nodes.Name):
            yield from _name_faults(node)
        elif isinstance(node, nodes.For) and node.recursive:
            yield "the template uses a recursive loop"
        elif isinstance(node, nodes.Getattr):
            yield from _attribute_faults(node.attr)
        elif isinstance(node, nodes.Getitem):
            yield from _subscript_faults(node.arg)
        elif isinstance(node, nodes.Filter):
            yield from _filter_faults(node.name, node)
        elif isinstance(node, nodes.Test):
            yield from _test_faults(node.name, node)
        elif isinstance(node, nodes.Call):
            yield from _call_faults(node)


def _name_faults(node: nodes.Name) -> Iterator[str]:
    if node.name in _NEVER_COLUMNS or node.name.startswith("__"):
        yield f"the template reads {node.name}, which is no column of a document"


def _attribute_faults(attribute: str) -> Iterator[str]:
    # `.format` is the one method that is itself a template, with attributes of its own to read.
    if attribute.startswith(("_", "format")):
        yield f"the template reads .{attribute}"


def _subscript_faults(key: Node) -> Iterator[str]:
    """Allow keys that are written out or come from the document; a composed key hides what it reads."""
    if isinstance(key, nodes.Const):
        if isinstance(key.value, str) and key.value.startswith("_"):
            yield f"the template reads [{key.value!r}]"
        return
    for part in _parts(key):
        # The result of a method or filter is used as a document key like any other value.
        if isinstance(part, nodes.Concat) or (isinstance(part, nodes.Const) and isinstance(part.value, str)):
            yield "the template reads a computed item"
            return


def _parts(node: Node) -> Iterator[Node]:
    """A key and the parts that it is composed of."""
    yield node
    if isinstance(node, (nodes.BinExpr, nodes.Concat, nodes.CondExpr, nodes.List, nodes.Tuple)):
        for child in node.iter_child_nodes():
            yield from _parts(child)
    elif isinstance(node, nodes.Filter) and node.node is not None:
        yield from _parts(node.node)


def _dynamic(node: Any) -> bool:
    return node.dyn_args is not None or node.dyn_kwargs is not None


def _filter_faults(name: str, node: Any, skipped: int = 0) -> Iterator[str]:
    """Faults of a filter, whose own arguments begin behind ``skipped`` ones of the filter that calls it."""
    parameters = FILTERS.get(name)
    if parameters is None:
        yield f"the template uses the filter {name}"
        return
    if _dynamic(node):
        yield f"the template passes unknown arguments to the filter {name}"
        return
    arguments: Sequence[Node] = node.args[skipped:]
    if name == "map" and arguments:
        yield from _filter_faults(str(_constant(arguments[0])), node, skipped + 1)
        return
    if name in ("select", "reject"):
        yield from _chosen_by_test(name, node, skipped)
        return
    if name in ("selectattr", "rejectattr"):
        yield from _key_path_faults(name, arguments[0] if arguments else None)
        yield from _chosen_by_test(name, node, skipped + 1)
        return
    if len(arguments) > len(parameters):
        yield f"the template passes too much to the filter {name}"
        return
    for parameter, value in zip(parameters, arguments, strict=False):
        if parameter == "attribute":
            yield from _key_path_faults(name, value)
    for keyword in node.kwargs:
        if keyword.key not in parameters:
            yield f"the template passes {keyword.key!r} to the filter {name}"
        elif keyword.key == "attribute":
            yield from _key_path_faults(name, keyword.value)


def _chosen_by_test(name: str, node: Any, skipped: int) -> Iterator[str]:
    if node.kwargs:
        yield f"the template passes {node.kwargs[0].key!r} to the filter {name}"
    test = node.args[skipped] if len(node.args) > skipped else None
    if test is not None and _constant(test) not in TESTS:
        yield f"the template chooses in the filter {name} by an unknown test"


def _constant(node: Node) -> Any:
    return node.value if isinstance(node, nodes.Const) else None


def _key_path_faults(name: str, node: Node | None) -> Iterator[str]:
    path = None if node is None else _constant(node)
    plain = isinstance(path, int) or (isinstance(path, str) and _is_key_path(path))
    if not plain:
        yield f"the template reads an attribute in the filter {name} that is no plain key"


def _is_key_path(path: str) -> bool:
    if not _KEY_PATH.fullmatch(path):
        return False
    return not any(next(_attribute_faults(key), None) for key in path.split("."))


def _test_faults(name: str, node: nodes.Test) -> Iterator[str]:
    if name not in TESTS:
        yield f"the template uses the test {name}"
    elif _dynamic(node) or node.kwargs:
        yield f"the template passes unknown arguments to the test {name}"


def _call_faults(node: nodes.Call) -> Iterator[str]:
    called = node.node
    known = (
        called.name in _FUNCTIONS
        if isinstance(called, nodes.Name)
        else isinstance(called, nodes.Getattr) and called.attr in _CALLABLE
    )
    if not known:
        yield "the template calls something"
    elif _dynamic(node):
        yield "the template passes unknown arguments"
