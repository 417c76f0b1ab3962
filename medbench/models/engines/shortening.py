"""A model whose windows and rope switches are short for a while, so that short sequences tell of long ones.

What a model does beyond a window of 4,096 tokens it does beyond one of 12 as well, by the same code: the
number stands in its configuration and in its modules, where it is changed and put back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from medbench.models.engines.lengths import names_length

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["shortened"]


@contextmanager
def shortened(model: PreTrainedModel, lengths: Mapping[int, int]) -> Iterator[None]:
    """Give a model other lengths; afterwards it has its own.

    Args:
        model: Any model.
        lengths: The length that it has -> the one that it gets.
    """
    undo: list[Callable[[], None]] = []
    seen: set[int] = set()
    try:
        for holder in (model.config, *model.modules()):
            _shorten(holder, lengths, seen, undo)
        yield
    finally:
        for back in reversed(undo):
            back()


def _shorten(holder: Any, lengths: Mapping[int, int], seen: set[int], undo: list[Callable[[], None]]) -> None:
    """Change what an object, a configuration or a mapping in one holds."""
    if id(holder) in seen:
        return
    seen.add(id(holder))
    if isinstance(holder, dict):
        values, put = holder, holder.__setitem__
    else:
        values, put = vars(holder), lambda name, value: object.__setattr__(holder, name, value)
    for name, value in list(values.items()):
        if type(value) is int and value in lengths and names_length(str(name)):
            put(name, lengths[value])
            undo.append(_putting_back(put, name, value))
        elif (isinstance(value, dict) and not str(name).startswith("_")) or hasattr(value, "model_type"):
            _shorten(value, lengths, seen, undo)


def _putting_back(put: Callable[[Any, Any], None], name: Any, value: Any) -> Callable[[], None]:
    return lambda: put(name, value)
