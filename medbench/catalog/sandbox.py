"""Rendering of external templates: they reach a document's values only, and do a bounded amount of work.

Every attribute, item, call and operator of a template goes through :class:`TemplateSandbox`. What it hands
out are the values of one document and what follows from them; a method is no value, so that none can be
printed, stored or passed on. What a template reads, builds and repeats is charged to a budget.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, TemplateError, Undefined, nodes, pass_context
from jinja2.environment import Template
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from medbench.catalog.budget import Budget, Method, refusal, work_of
from medbench.catalog.grammar import CHOOSERS, FILTERS, LOOP_METHODS, METHODS, TESTS, template_faults
from medbench.catalog.instrument import CHARGED, COUNTED, JOINED, Instrument
from medbench.errors import CatalogError

_SHOWN = 60
# fmt: off
_LOOP_VALUES = frozenset([
    "depth", "depth0", "first", "index", "index0", "last", "length", "nextitem", "previtem", "revindex",
    "revindex0",
])
# fmt: on
_TOO_DEEP = "the template is nested too deeply, or has a number that is too long"
# Jinja's own filters lie under names that no template can write.
_PLAIN = "plain "


class _Context(Context):
    """A rendering with its budget."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.budget = Budget()


class _Template(Template):
    """A template whose errors name the template."""

    source: str

    def render(self, *args: Any, **kwargs: Any) -> str:
        """Render the template as Jinja does.

        Raises:
            CatalogError: If the template reaches beyond its document or does too much.
        """
        try:
            return super().render(*args, **kwargs)
        except CatalogError as error:
            raise _located(error, self.source) from None


def _located(error: CatalogError, source: str) -> CatalogError:
    text = " ".join(source.split())
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return CatalogError(error.what, where=error.where or f"the template {shown!r}", hint=error.hint)


@pass_context
def _counted(context: _Context, values: Any, cost: int) -> Iterator[Any]:
    """The items of a loop, each charged for the work of one iteration."""

    def paying(items: Iterator[Any]) -> Iterator[Any]:
        for item in items:
            context.budget.spend(cost)
            yield item

    return paying(iter(context.budget.charge(values)))


@pass_context
def _charged(context: _Context, value: Any) -> Any:
    return context.budget.charge(value)


@pass_context
def _joined(context: _Context, values: list[Any]) -> Any:
    return context.budget.charge("".join(map(str, context.budget.charge(values))))


def _guarded(name: str) -> Callable[..., Any]:
    """A filter that charges the budget."""

    @pass_context
    def run(context: _Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        if len(args) + len(kwargs) > len(FILTERS[name]) and name not in CHOOSERS:
            raise refusal(f"the template passes too much to the filter {name}")
        context.budget.charge([value, *args, *kwargs.values()])
        context.budget.spend(work_of(name, (value, *args), kwargs))
        result = context.environment.call_filter(_PLAIN + name, value, args, kwargs, context=context)
        return context.budget.charge(list(result) if isinstance(result, Iterator) else result)

    return run


def _replace_by_pattern(text: str, pattern: str, repl: str, count: int = 0) -> str:
    """The filter that lm-eval adds to Jinja's own."""
    return re.sub(pattern, repl, text, count=count)


class TemplateSandbox(ImmutableSandboxedEnvironment):
    """Renders templates as lm-eval does, and refuses those that reach beyond their document."""

    context_class = _Context
    template_class = _Template
    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
        plain = {**self.filters, "regex_replace": _replace_by_pattern}
        self.filters = {_PLAIN + name: plain[name] for name in FILTERS}
        self.filters |= {name: _guarded(name) for name in FILTERS}
        self.filters |= {COUNTED: _counted, CHARGED: _charged, JOINED: _joined}
        self.tests = {name: self.tests[name] for name in TESTS}
        self.globals = {"range": Method("range", range)}
        # lm-eval passes the text of a template again for every document.
        self._known: Callable[[str], _Template] = lru_cache(maxsize=256)(self._compiled)

    def fault(self, source: str) -> str | None:
        """Say what a template does beyond filling in a document's columns; None if it is harmless."""
        try:
            return next(template_faults(super()._parse(source, None, None)), None)
        except TemplateError:
            # A template that does not parse cannot run; the check of its rendering reports it.
            return None
        except (RecursionError, ValueError):
            return _TOO_DEEP

    def from_string(self, source: Any, globals: Any = None, template_class: Any = None) -> _Template:
        """Compile a template; each text is compiled once.

        Raises:
            CatalogError: If it reaches beyond its document.
        """
        return self._known(source)

    def _compiled(self, source: str) -> _Template:
        try:
            template: Any = super().from_string(source)
        except CatalogError as error:
            raise _located(error, source) from None
        except (RecursionError, ValueError):
            raise _located(refusal(_TOO_DEEP), source) from None
        template.source = source
        return template  # type: ignore[no-any-return]

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for fault in template_faults(tree):
            raise refusal(fault)
        Instrument().visit(tree)
        tree.set_environment(self)
        return tree

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Evaluate ``.attribute``: a document's key, or a method that changes nothing.

        Raises:
            CatalogError: If it is any other attribute of a value.
        """
        if isinstance(obj, LoopContext):
            if attribute in LOOP_METHODS:
                return Method(attribute, getattr(obj, attribute))
            if attribute in _LOOP_VALUES:
                return getattr(obj, attribute)
        elif isinstance(obj, Undefined):
            if not attribute.startswith("_"):
                return super().getattr(obj, attribute)
        else:
            for kind, methods in METHODS.items():
                if isinstance(obj, kind) and attribute in methods:
                    return Method(attribute, getattr(obj, attribute), obj)
            if isinstance(obj, Mapping) and attribute in obj:
                return obj[attribute]
            if not hasattr(type(obj), attribute):
                return self.undefined(obj=obj, name=attribute)
        raise refusal(f"the template reads .{attribute} of {type(obj).__name__}")

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Evaluate ``[argument]``: an item of a dictionary, a list or a text, never an attribute."""
        if isinstance(obj, (LoopContext, Method)):
            raise refusal(f"the template reads [{argument!r}] of {type(obj).__name__}")
        try:
            return obj[argument]
        except (TypeError, LookupError, AttributeError):
            return self.undefined(obj=obj, name=argument)

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method of a value.

        Raises:
            CatalogError: If it is anything else, or builds too much.
        """
        if isinstance(obj, Undefined):
            return obj(*args, **kwargs)  # which says what is missing
        if not isinstance(obj, Method):
            raise refusal(f"the template calls {type(obj).__name__}")
        for variables in ("_loop_vars", "_block_vars"):  # which compiled templates add for macros
            kwargs.pop(variables, None)
        budget: Budget = context.budget
        values = args if obj.owner is None else (obj.owner, *args)
        budget.charge([*values, *kwargs.values()])
        budget.spend(work_of(obj.name, values, kwargs))
        return budget.charge(obj.run(*args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Evaluate an operator.

        Raises:
            CatalogError: If it formats, raises to a power, or builds too much.
        """
        if operator == "**" or (operator == "%" and isinstance(left, (str, bytes))):
            raise refusal(f"the template uses {operator} on {type(left).__name__}")
        budget: Budget = context.budget
        budget.charge([left, right])
        budget.spend(work_of(operator, (left, right), {}))
        return budget.charge(super().call_binop(context, operator, left, right))


@lru_cache(maxsize=1)
def _sandbox() -> TemplateSandbox:
    return TemplateSandbox()


def template_fault(text: str) -> str | None:
    """Say what a text does as a template beyond filling in columns; None if it is harmless or no template."""
    return _sandbox().fault(text) if "{{" in text or "{%" in text else None
