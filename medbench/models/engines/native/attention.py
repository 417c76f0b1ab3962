"""Attention by packs in transformers' models.

Models make masks through transformers' mask interface and attend through its attention interface; a session
replaces both. In place of a mask, the model's rule of what a token may see (causal, window, chunk) is passed
on and applied to each sequence of the pack. So a window counts whether the model passes it to its attention
or writes it into its mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from medbench.errors import ModelError
from medbench.models.engines.native.packing import MaskRule, Pack

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NAME = "medbench_packed"
# Arguments of attention functions that change nothing here: dropout (none outside training), the window (it
# is in the mask rule, as in transformers' own attention), and values that were used before.
_IDLE = {
    "cache_position",
    "dropout",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "position_embeddings",
    "position_ids",
    "return_dict",
    "sliding_window",
    "use_cache",
}


@dataclass(frozen=True, eq=False)
class _Rule(MaskRule):
    """A mask function of transformers.

    Attributes:
        function: Takes batch, head, and the positions of query and key.
        reach: Tokens of a sequence up to which the rule is the causal one; ``None``: of any.
    """

    function: Callable[..., Any]
    reach: int | None

    def causal_up_to(self, tokens: int) -> bool:
        """Whether a token sees all before it, see :class:`MaskRule`."""
        return self.reach is None or tokens <= self.reach

    def hidden(self, query: Tensor, key: Tensor) -> Tensor:
        """What is not seen, see :class:`MaskRule`."""
        seen: Tensor = self.function(0, 0, query[:, None], key[None, :])
        return ~seen


MASK = _Rule.__name__  # appears in errors of model code that takes the rule for a tensor


@contextmanager
def packed_attention(model: PreTrainedModel) -> Iterator[None]:
    """Let the model's forwards attend by the ``pack`` they are given until the block ends."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(_NAME, _attend)
    AttentionMaskInterface.register(_NAME, _rule)
    config = model.config
    earlier = config._attn_implementation
    config._attn_implementation = _NAME
    try:
        yield
    finally:
        config._attn_implementation = earlier


def _rule(
    mask_function: Callable[..., Any],
    local_size: int | None = None,
    use_vmap: bool = False,
    **kwargs: Any,
) -> MaskRule:
    """The rule of a mask that a model asks for."""
    from transformers.masking_utils import causal_mask_function

    del kwargs
    if use_vmap:
        raise ModelError("the model's mask is of its own making")
    if local_size is None and mask_function is not causal_mask_function:
        local_size = 0
    return _Rule(mask_function, local_size)


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: MaskRule | Tensor | None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    pack: Pack | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    where = type(module).__name__
    unknown = sorted(name for name, given in kwargs.items() if given is not None and name not in _IDLE)
    if pack is None or unknown:
        named = f" takes {', '.join(unknown)}" if unknown else " is not told of the pack"
        raise ModelError(f"the attention of {where}{named}")
    if isinstance(attention_mask, Tensor):
        raise ModelError(f"the attention of {where} gets a mask of the model's own making")
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    if attention_mask is None and not causal:
        raise ModelError(f"the attention of {where} is not causal")
    here = pack.on(query.device)
    return here.attend(module.layer_idx, query, key, value, scaling, attention_mask), None
