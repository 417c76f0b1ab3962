"""A causal language model as the engine uses it: hidden states of a pack, logits of chosen tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from medbench.errors import ModelError
from medbench.models.packing import Pack, Segment, packed_attention
from medbench.models.prepacking import PackedWeights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["PackedModel"]

# Logits held at once, in elements: 64 MB in float32.
_HEAD_ELEMENTS = 2**24


class PackedModel:
    """Runs packs through a model, and its head on the tokens that matter only.

    Args:
        model: Any transformers causal language model with rotary or learned absolute positions.

    Raises:
        ModelError: The engine cannot run this architecture: packed, it does not compute what it computes by
            itself.

    Attributes:
        tokens: Tokens run so far, prompts and generated ones together.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.body: Any = model.base_model
        self.head: Any = cast("Any", model).get_output_embeddings()
        config: Any = model.config
        self.vocabulary = int(config.vocab_size)
        limit = getattr(config, "max_position_embeddings", None)
        self.max_length: int | None = int(limit) if limit else None
        where = type(model).__name__
        if self.head is None or self.body is model:
            raise ModelError("the model has no language model head", where=where)
        self._head_device = next(self.head.parameters()).device
        self._weights = PackedWeights(model)
        self.tokens = 0
        self._verify(where)
        self.tokens = 0  # those of the check do not count

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
        with packed_attention(self.model), self._weights.at_work():
            output = self.body(
                input_ids=ids[None],
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

    @torch.inference_mode()
    def _verify(self, where: str) -> None:
        """Compare two sequences run packed with the same run by the model itself."""
        lengths = (3, 2)
        ids = torch.arange(sum(lengths), device=self.device) % self.vocabulary
        positions = torch.cat([torch.arange(length, device=self.device) for length in lengths])
        bounds = ((0, 3), (3, 5))
        segments = [Segment(start, stop, positions[start:stop]) for start, stop in bounds]
        wide = self.dtype.itemsize >= 4
        try:
            packed = self.logits(self.hidden(ids, positions, Pack(segments)))
            alone = [self.model(input_ids=ids[None, start:stop]).logits[0].float() for start, stop in bounds]
        except (TypeError, AttributeError, ValueError) as error:
            raise ModelError(f"the engine cannot run this architecture: {error}", where=where) from error
        expected = torch.cat(alone)
        tolerance = 1e-3 if wide else 0.1
        scale = expected.abs().max().clamp(min=1.0)
        if bool(((packed - expected).abs() > tolerance * scale).any()):
            raise ModelError(
                "packed, the model does not compute what it computes by itself",
                where=where,
                hint="the engine runs models of the Qwen2, Qwen3, Llama and Mistral kind",
            )
