"""Rewrites a template so that its loops, output, comparisons and values are charged to a budget."""

from __future__ import annotations

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

# These names contain a space, so no template can write them.
CHARGED = "charged value"
COUNTED = "counted items"
JOINED = "joined values"

# Evaluating one part of a template takes about as long as reading this many characters.
_STEP = 10


def _through(name: str, value: nodes.Expr, *arguments: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(value, name, list(arguments), [], None, None, lineno=value.lineno)


def _charged(value: nodes.Expr) -> nodes.Expr:
    return _through(CHARGED, value)


class Instrument(NodeTransformer):
    """Inserts the filters that charge the budget into a parsed template."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802 Jinja's name
        """Charge each iteration of a loop for the parts and the text of its body."""
        parts = sum(1 for _ in node.find_all(nodes.Node))
        text = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        self.generic_visit(node)
        cost = nodes.Const(parts * _STEP + text, lineno=node.lineno)
        node.iter = _through(COUNTED, node.iter, cost)  # type: ignore[arg-type]
        return node

    def visit_Output(self, node: nodes.Output) -> nodes.Output:  # noqa: N802 Jinja's name
        """Charge printed values."""
        self.generic_visit(node)
        node.nodes = [
            child if isinstance(child, nodes.TemplateData) else _charged(child) for child in node.nodes
        ]
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:  # noqa: N802 Jinja's name
        """Charge ``~``, which Jinja compiles without consulting its sandbox."""
        self.generic_visit(node)
        return _through(JOINED, nodes.List(node.nodes, lineno=node.lineno))

    def visit_Compare(self, node: nodes.Compare) -> nodes.Compare:  # noqa: N802 Jinja's name
        """Charge both sides of a comparison."""
        self.generic_visit(node)
        node.expr = _charged(node.expr)
        for operand in node.ops:
            operand.expr = _charged(operand.expr)
        return node

    def visit_Test(self, node: nodes.Test) -> nodes.Test:  # noqa: N802 Jinja's name
        """Charge the arguments of a test, which it compares."""
        self.generic_visit(node)
        if node.args:
            node.node = _charged(node.node)
            node.args = [_charged(value) for value in node.args]
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:  # noqa: N802 Jinja's name
        """Charge a slice as a copy."""
        self.generic_visit(node)
        return _charged(node) if isinstance(node.arg, nodes.Slice) else node

    def visit_List(self, node: nodes.List) -> nodes.Expr:  # noqa: N802 Jinja's name
        """Charge every item of a list, which may hold one value many times."""
        self.generic_visit(node)
        return _charged(node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Expr:  # noqa: N802 Jinja's name
        """Charge every item of a dictionary."""
        self.generic_visit(node)
        return _charged(node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Expr:  # noqa: N802 Jinja's name
        """Charge every item of a tuple, unless it names the variables of a loop."""
        self.generic_visit(node)
        return _charged(node) if node.ctx == "load" else node
