"""A router module under watch: what it returns, and the scores that it ranks its experts by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


@contextmanager
def watched(
    module: nn.Module,
    experts: int | None,
    top_k: int | None,
    after: Callable[[Any, Tensor | None], Any],
    gone: tuple[int, ...] = (),
) -> Iterator[None]:
    """Run a router's forward under watch for as long as a block runs.

    Args:
        module: The router; as it was when the block ends.
        experts: E; ``None``: any.
        top_k: k; ``None``: any.
        after: Sees what the router returns and the scores that it ranked by; what it gives is returned.
        gone: Experts that must not be chosen.
    """
    inner = module.forward
    own = "forward" in vars(module)

    def forward(*args: Any, **kwargs: Any) -> Any:
        with _Ranking(experts, top_k, gone) as ranking:
            result = inner(*args, **kwargs)
        return after(result, ranking.scores)

    module.forward = forward
    try:
        yield
    finally:
        if own:
            module.forward = inner
        else:
            del module.forward


class _Ranking(TorchFunctionMode):
    """Keeps the scores of the last ``topk`` over all experts, and takes experts out of it.

    Args:
        experts: E; ``None``: any.
        top_k: k; ``None``: any.
        gone: Experts that must not be chosen.
    """

    def __init__(self, experts: int | None, top_k: int | None, gone: tuple[int, ...]) -> None:
        super().__init__()
        self._experts = experts
        self._top_k = top_k
        self._gone = list(gone)
        self.scores: Tensor | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in (torch.topk, Tensor.topk):
            return func(*args, **kwargs)
        scores, *rest = args if args else (kwargs.pop("input"),)
        k = rest[0] if rest else kwargs["k"]
        if self._experts in (None, scores.shape[-1]) and self._top_k in (None, k):
            if self._gone:
                scores = scores.clone()
                scores[..., self._gone] = float("-inf")
            self.scores = scores
        return func(scores, *rest, **kwargs)
