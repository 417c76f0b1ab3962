"""Router choices for every token of some texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medbench.models.engines.native.forward import PackedModel
from medbench.models.engines.native.packing import Pack, Segment
from medbench.models.engines.paths import ModelPath, choose_path
from medbench.models.routing.router_finding import need_routers
from medbench.models.routing.routers import Router, RouterOutputs

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TokenChoices(NamedTuple):
    """The choices of M routers for the T tokens of one text.

    Attributes:
        choice: [M, T, k] experts, best first.
        gate: [M, T, k] their gate weights in units of 1/255.
    """

    choice: NDArray[np.uint8]
    gate: NDArray[np.uint8]


def router_choices(
    model: PreTrainedModel, texts: Iterable[Sequence[int]], *, max_batch_tokens: int = 8192
) -> Iterator[TokenChoices]:
    """Run texts through a model and yield its router choices, text by text.

    Args:
        model: A model with routers; their order is by layer, then gate, up, down.
        texts: Token ids, at least one each.
        max_batch_tokens: Tokens per forward; a longer text gets its own.

    Raises:
        ModelError: The model has no routers, they differ in shape, or have more than 256 experts.
    """
    routers = need_routers(model, traced=True)
    path = choose_path(model)
    path.tell()
    batch: list[Sequence[int]] = []
    for text in texts:
        if batch and not _goes_with(path, text, batch, max_batch_tokens):
            yield from _choices(path, routers, batch)
            batch = []
        batch.append(text)
    if batch:
        yield from _choices(path, routers, batch)


def _goes_with(
    path: ModelPath, text: Sequence[int], batch: Sequence[Sequence[int]], max_batch_tokens: int
) -> bool:
    """Whether a text fits into one forward with others: within the budget and in one stretch of lengths."""
    if path.packed is None or sum(map(len, batch)) + len(text) > max_batch_tokens:
        return False
    return path.packed.rope.stretch(len(text)) == path.packed.rope.stretch(len(batch[0]))


@torch.inference_mode()
def _choices(
    path: ModelPath, routers: Sequence[Router], texts: Sequence[Sequence[int]]
) -> list[TokenChoices]:
    """The choices for texts in one stretch of lengths; the reference path takes one text."""
    bounds = np.cumsum([0, *map(len, texts)]).tolist()
    seen: dict[Router, tuple[Tensor, Tensor]] = {}

    def observe(router: Router, outputs: RouterOutputs) -> None:
        gates = (outputs.weights.float() * 255).round()
        seen[router] = (outputs.choice.to(torch.uint8), gates.to(torch.uint8))

    with ExitStack() as stack:
        for router in routers:
            stack.enter_context(router.observed(observe))
        if path.packed is None:
            [text] = texts
            path.reference.logits(text, 1)
        else:
            _run(path.packed, texts, bounds)
    choice, gate = (torch.stack([seen[router][i] for router in routers]).cpu().numpy() for i in (0, 1))
    return [TokenChoices(choice[:, start:stop], gate[:, start:stop]) for start, stop in pairwise(bounds)]


def _run(packed: PackedModel, texts: Sequence[Sequence[int]], bounds: Sequence[int]) -> None:
    device = packed.device
    ids = torch.tensor([token for text in texts for token in text], device=device)
    positions = torch.cat([torch.arange(len(text), device=device) for text in texts])
    segments = [Segment(start, stop, positions[start:stop]) for start, stop in pairwise(bounds)]
    packed.hidden(ids, positions, Pack(segments, stretch=packed.rope.stretch(len(texts[0]))))
