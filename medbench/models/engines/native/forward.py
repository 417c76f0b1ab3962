"""A causal language model as the engine uses it, and what scoring and generation have in common.

``PackedModel`` computes the hidden states of a pack and the logits of chosen tokens. ``PackedPass`` is the
base of the scoring pass and the generation pass::

    with model.session(recorder):             attention, prepacked weights and router observers are installed
        prefixes.fill(…)                      common prefixes are computed first
        hidden = self._forward(…)             one forward; its tokens are credited to their owners
        logits = model.logits(hidden[…])      only where a token is scored or chosen
    everything is restored; owners that were not released are forgotten

A batch that does not fit into memory is tried again in smaller parts. Requests that cannot be answered are
collected and reported as one error at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from medbench.errors import ModelError
from medbench.models.architecture.memory import is_out_of_memory, release_memory
from medbench.models.architecture.text_config import max_length_of, vocabulary_of
from medbench.models.engines.native.attention import packed_attention
from medbench.models.engines.native.packing import Pack
from medbench.models.engines.native.prefixes import PrefixCache
from medbench.models.engines.native.prepacking import PrepackedWeights
from medbench.models.engines.native.rope import RopeSwitches
from medbench.models.routing.counts import CreditSpan, RoutingLabel
from medbench.models.routing.recorder import Recorder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_T = TypeVar("_T")

_NAMED = 4  # failed requests that an error names
# Logits held at once, in elements: 64 MB in float32.
_HEAD_ELEMENTS = 2**24


class PackedModel:
    """Runs packs through a model, and the head on chosen tokens only.

    :mod:`medbench.models.engines.self_check` compares it with the model's own forward before use.

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
        self._weights = PrepackedWeights(model)
        self._in_session = False
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

    @contextmanager
    def session(self, recorder: Recorder | None = None) -> Iterator[None]:
        """Prepare the model for packed forwards until the block ends; then it is as it was.

        Attention follows the pack, linear layers multiply by prepacked weights, and the recorder observes
        the routers. Within another session nothing is installed twice. The model's own forward does not run
        in a session.

        Args:
            recorder: Counts router choices, if any are to be counted.
        """
        with ExitStack() as stack:
            if not self._in_session:
                stack.enter_context(packed_attention(self.model))
                stack.enter_context(self._weights.installed())
                self._in_session = True
                stack.callback(setattr, self, "_in_session", False)
            if recorder is not None:
                stack.enter_context(recorder.session())
            yield

    def hidden(self, ids: Tensor, positions: Tensor, pack: Pack) -> Tensor:
        """Last hidden states of a pack.

        Args:
            ids: [N] token ids.
            positions: [N] positions in their sequences.
            pack: Which tokens belong to which sequence.

        Returns:
            [N, hidden].
        """
        with self.session(), self.rope.at(pack.stretch):
            output = self.body(
                input_ids=ids[None],
                attention_mask=torch.ones_like(ids)[None],  # or transformers would guess sequences itself
                position_ids=positions[None],
                use_cache=False,
                pack=pack,
                return_dict=True,
            )
        self.tokens += len(ids)
        states: Tensor = output.last_hidden_state
        return states[0].to(self.device)

    def logits(self, hidden: Tensor, only: Tensor | None = None) -> Tensor:
        """Logits of some tokens, in float32 or wider.

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


class PackedPass:
    """A pass over many requests: counted forwards, shared prefixes, a token budget, failed requests.

    Args:
        model: The model.
        recorder: Counts router choices.
        max_batch_tokens: Tokens per forward; a single sequence may be longer.
        share_prefixes: Whether common prefixes are computed once.
    """

    def __init__(
        self, model: PackedModel, recorder: Recorder, max_batch_tokens: int, *, share_prefixes: bool = True
    ) -> None:
        self._model = model
        self._recorder = recorder
        self._budget = max_batch_tokens
        self._share = share_prefixes
        self._prefixes = PrefixCache(self._forward, recorder, model.device)
        self._failed: list[FailedRequest] = []

    def _forward(
        self, ids: Sequence[int], positions: Sequence[int], pack: Pack, spans: Sequence[CreditSpan]
    ) -> Tensor:
        """Last hidden states of a pack, [N, hidden]; its tokens are credited to the spans' owners."""
        tokens = torch.tensor(ids, device=self._model.device)
        places = torch.tensor(positions, device=self._model.device)
        return self._recorder.observe(lambda: self._model.hidden(tokens, places, pack), spans, ids, positions)

    def _attempt(self, step: Callable[[], _T]) -> _T | None:
        """Run a step of the pass; ``None`` if it ran out of memory."""
        try:
            return step()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        release_memory(self._model.device)  # after the failed step's frames and their tensors are gone
        return None

    def _halve_budget(self, tokens: int) -> None:
        """Allow half as many tokens per forward as those that did not fit."""
        self._budget = max(1, tokens // 2)

    def _answers(self, results: Sequence[_T | None], labels: Sequence[RoutingLabel] | None) -> list[_T]:
        """The results, if there is one for every request.

        Raises:
            ModelError: Some requests failed.
        """
        if self._failed:
            raise failure(self._failed, labels)
        answers = [result for result in results if result is not None]
        if len(answers) != len(results):
            raise AssertionError(f"{len(results) - len(answers)} requests were left without an answer")
        return answers


class FailedRequest(NamedTuple):
    """A request without an answer.

    Attributes:
        request: Its index among the requests.
        why: What went wrong.
        hint: What to do about it.
    """

    request: int
    why: str
    hint: str

    @classmethod
    def not_finite(cls, request: int) -> FailedRequest:
        """The logits were not finite."""
        return cls(request, "the model's logits are not finite", "use a wider number format, such as float32")

    @classmethod
    def too_large(cls, request: int, tokens: int) -> FailedRequest:
        """The request does not fit into memory by itself."""
        why = f"a request of {tokens} tokens does not fit into memory"
        return cls(request, why, "use a narrower number format, a larger device, or shorter prompts")


def failure(failed: Sequence[FailedRequest], labels: Sequence[RoutingLabel] | None) -> ModelError:
    """The error for failed requests, which names the first few."""
    names = [
        f"request {one.request}"
        + (f" ({labels[one.request][0]}, document {labels[one.request][1]})" if labels else "")
        for one in failed[:_NAMED]
    ]
    if len(failed) > _NAMED:
        names.append(f"{len(failed) - _NAMED} more")
    return ModelError(failed[0].why, where=", ".join(names), hint=failed[0].hint)
