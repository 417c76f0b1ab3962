"""A causal language model as the engine uses it: hidden states of a pack, logits of chosen tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from medbench.errors import ModelError
from medbench.models.architecture.text_config import max_length_of, vocabulary_of
from medbench.models.engines.native.attention import packed_attention
from medbench.models.engines.native.packing import Pack
from medbench.models.engines.native.prepacking import PackedWeights
from medbench.models.engines.native.rope import RopeSwitches

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["PackedModel"]

# Logits held at once, in elements: 64 MB in float32.
_HEAD_ELEMENTS = 2**24


class PackedModel:
    """Runs packs through a model, and its head on the tokens that matter only.

    Whether it computes what the model computes by itself is for :mod:`medbench.models.engines.self_check` to
    say.

    Args:
        model: Any transformers causal language model with rotary or learned absolute positions.

    Raises:
        ModelError: The architecture cannot be packed.

    Attributes:
        tokens: Tokens run so far, prompts and generated ones together.
        rope: Where the model's rotary positions depend on the length of a sequence.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.body: Any = model.base_model
        self.head: Any = cast("Any", model).get_output_embeddings()
        self.vocabulary = vocabulary_of(model)
        self.max_length = max_length_of(model)
        if self.head is None or self.body is model:
            raise ModelError("the model has no language model head", where=type(model).__name__)
        self._head_device = next(self.head.parameters()).device
        self._weights = PackedWeights(model)
        self.rope = RopeSwitches(model, self.max_length)
        self.tokens = 0

    @property
    def device(self) -> torch.device:
        """Where token ids go."""
        device: torch.device = self.body.get_input_embeddings().weight.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Element type of the hidden states."""
        dtype: torch.dtype = self.model.dtype
        return dtype

    @property
    def head_rows(self) -> int:
        """Tokens whose logits are computed at once."""
        return max(1, _HEAD_ELEMENTS // self.vocabulary)

    def hidden(self, ids: Tensor, positions: Tensor, pack: Pack) -> Tensor:
        """Last hidden states of a pack.

        Args:
            ids: [N] token ids.
            positions: [N] positions in their sequences.
            pack: How the tokens hang together.

        Returns:
            [N, hidden].
        """
        with packed_attention(self.model), self._weights.at_work(), self.rope.at(pack.stretch):
            output = self.body(
                input_ids=ids[None],
                attention_mask=torch.ones_like(ids)[None],  # said, lest transformers read packs its own way
                position_ids=positions[None],
                use_cache=False,
                pack=pack,
                return_dict=True,
            )
        self.tokens += len(ids)
        states: Tensor = output.last_hidden_state
        return states[0].to(self.device)

    def logits(self, hidden: Tensor, only: Tensor | None = None) -> Tensor:
        """Logits of some tokens, in float32 at least.

        Args:
            hidden: [M, hidden].
            only: [A] ids of the tokens to give logits for; ``None``: the whole vocabulary.

        Returns:
            [M, vocabulary] or [M, A].
        """
        place = hidden.device
        hidden = hidden.to(self._head_device)
        only = None if only is None else only.to(hidden.device)
        if only is None:
            logits: Tensor = self._weights.product(self.head)(hidden)
        elif isinstance(self.head, nn.Linear):
            bias: Tensor | None = self.head.bias
            bias = None if bias is None else bias[only]
            logits = nn.functional.linear(hidden, self.head.weight[only], bias)
        else:
            logits = self.head(hidden)[:, only]
        return (logits if logits.dtype == torch.float64 else logits.float()).to(place)
