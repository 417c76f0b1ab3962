"""A budget for rendering one template, and what each operation costs."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from typing import Any, NamedTuple

from jinja2 import Undefined

from medbench.errors import CatalogError

# Characters and items read or written by one rendering: seconds of work, and well below 1 GiB.
_WORK = 50_000_000
# Reading one item of a list costs as much as reading about ten characters.
_ITEM = 10
# No column of a document holds a longer number.
_MAX_BITS = 4_096
_VIEWS = (KeysView, ValuesView, ItemsView)
_SIZED = (str, bytes, list, tuple, Mapping, *_VIEWS)


class Method(NamedTuple):
    """A method or function that a template may only call directly; it cannot be stored, printed or passed on.

    Attributes:
        name: Its name.
        run: The method or function.
        owner: The value whose method it is; None for a function.
    """

    name: str
    run: Callable[..., Any]
    owner: Any = None


def refusal(what: str) -> CatalogError:
    """The error for a template that is refused."""
    return CatalogError(
        what, hint="write it with plain columns, or read the task's files and allow them with --allow-code"
    )


class Budget:
    """The work that is left for one rendering."""

    def __init__(self) -> None:
        self._left = _WORK

    def spend(self, amount: int) -> None:
        """Charge work, measured in characters.

        Raises:
            CatalogError: If the budget is exceeded.
        """
        self._left -= amount
        if self._left < 0:
            raise refusal("the template does more work than any prompt needs")

    def charge(self, value: Any) -> Any:
        """Charge a value by its size, and return it.

        Raises:
            CatalogError: If it is too large, or of a type that no document can contain.
        """
        waiting = [value]
        while waiting:
            one = waiting.pop()
            if isinstance(one, Method):
                raise refusal(f"the template uses {one.name} without calling it")
            if isinstance(one, _SIZED):
                if isinstance(one, (str, bytes)):
                    self.spend(len(one) + 1)
                    continue
                self.spend(_ITEM * len(one) + 1)  # before its items are looked at
                waiting += [*one.keys(), *one.values()] if isinstance(one, Mapping) else one
            elif isinstance(one, range):
                self.spend(_count(one))
            elif isinstance(one, int) and one.bit_length() > _MAX_BITS:
                raise refusal("the template computes a number of more than a thousand digits")
            elif not isinstance(one, Undefined) and _is_machinery(one):
                raise refusal(f"the template uses {type(one).__name__} as a value")
            else:
                self.spend(1)
        return value


def _is_machinery(value: Any) -> bool:
    return callable(value) or isinstance(value, Iterator) or type(value).__module__.startswith("jinja2")


def _count(numbers: range) -> int:
    return max(0, (numbers.stop - numbers.start) // numbers.step) + 1


def _size(value: Any) -> int:
    return len(value) if isinstance(value, _SIZED) else 1


def _join(first: Any, d: Any = "") -> int:
    # The separator comes first in `', '.join(items)` and second in `items | join(', ')`.
    return _size(first) * _size(d)


def _replace(value: Any, old: Any = "", new: Any = "") -> int:
    text, old = str(value), str(old)
    return (text.count(old) if old else len(text) + 1) * len(str(new))


def _regex_replace(value: Any, pattern: Any = "", repl: Any = "") -> int:
    return (len(str(value)) + 1) * (len(str(repl)) + 1)


def _round(_value: Any, precision: Any = 0) -> int:
    return int(precision) ** 2 if isinstance(precision, int) else 0


def _multiply(left: Any, right: Any) -> int:
    if isinstance(left, int) and isinstance(right, int):
        return 1
    if isinstance(left, int):
        left, right = right, left
    return _size(left) * right if isinstance(right, int) else 1


# What can build results far larger than its input, and the parameters that decide how large.
_COSTS: Mapping[str, tuple[Callable[..., int], tuple[str, ...]]] = {
    "*": (_multiply, ()),
    "join": (_join, ("d",)),
    "regex_replace": (_regex_replace, ("pattern", "repl")),
    "replace": (_replace, ("old", "new")),
    "round": (_round, ("precision",)),
}


def work_of(name: str, values: Sequence[Any], named: Mapping[str, Any]) -> int:
    """Upper bound of what a filter, method or operator builds beyond the size of its input.

    Args:
        name: Its name.
        values: What it is applied to, and its further arguments.
        named: Its arguments by name.

    Returns:
        Characters and items.
    """
    if name not in _COSTS:
        return 0
    cost, parameters = _COSTS[name]
    positional = values[: len(parameters) + 1] if parameters else values
    return cost(*positional, **{key: named[key] for key in parameters if key in named})
