"""The reference path: transformers' own forward and ``generate``, one row at a time.

Slow, and right for any causal language model that transformers runs: what the packed engine cannot compute
exactly (soft caps, state spaces, attention of a model's own) goes this way.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from medbench.errors import ModelError
from medbench.models.generation_rows import (
    FinishReason,
    Generation,
    GenerationRequest,
    Row,
)
from medbench.models.memory import is_out_of_memory
from medbench.models.rope import RopeSwitches
from medbench.models.text_config import max_length_of, usable_tokens, vocabulary_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["NotFiniteError", "ReferenceModel", "Tape"]

_CHECKED = 12  # tokens of the sequence on which a model is tried
_GENERATED = 4
# Largest median difference of two computations of the same logits, relative to the largest.
_TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-3, torch.float16: 3e-2, torch.bfloat16: 6e-2}


class NotFiniteError(Exception):
    """The logits of a step are not finite."""


class ReferenceModel:
    """A model's own forward and ``generate``.

    Args:
        model: Any transformers causal language model.

    Raises:
        ModelError: The model does not run on token ids alone, or what it gives for a token depends on those
            behind it, or on chance.

    Attributes:
        vocabulary: Tokens that it knows.
        max_length: Tokens that it takes at most, or ``None``.
        tokens: Tokens run so far.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        where = type(model).__name__
        try:
            self.vocabulary = vocabulary_of(model)
        except AttributeError as error:
            raise ModelError("the model has no vocabulary of tokens", where=where) from error
        self.max_length = max_length_of(model)
        self.tokens = 0
        parameters = inspect.signature(model.forward).parameters
        self._more: dict[str, Any] = {"use_cache": False} if "use_cache" in parameters else {}
        self._keeps = "logits_to_keep" in parameters
        self._rope: RopeSwitches | None
        try:
            self._rope = RopeSwitches(model, self.max_length)
        except ModelError:
            self._rope = None  # every step is computed anew
        self._check(where)
        self._continues = self._generates_alike()
        self.tokens = 0

    @property
    def device(self) -> torch.device:
        """Where token ids go."""
        device: torch.device = cast("Any", self.model).get_input_embeddings().weight.device
        return device

    @torch.inference_mode()
    def logits(self, ids: Sequence[int], last: int | None = None) -> Tensor:
        """Logits of one sequence by the model's own forward, in float32 at least.

        Args:
            ids: N tokens.
            last: Only those of the so many last tokens; ``None``: all.

        Returns:
            [N or last, vocabulary].
        """
        more = dict(self._more)
        if last is not None and self._keeps:
            more["logits_to_keep"] = last
        tokens = torch.tensor([list(ids)], device=self.device)
        logits: Tensor = self.model(input_ids=tokens, **more).logits[0]
        self.tokens += len(ids)
        if last is not None:
            logits = logits[-last:]
        return logits if logits.dtype == torch.float64 else logits.float()

    def continue_row(self, row: Row) -> Generation:
        """Continue a prompt to its end.

        Raises:
            NotFiniteError: The logits of a step are not finite.
        """
        longest = row.size + row.request.max_new_tokens - 1
        rope = self._rope
        reason: FinishReason | None = None
        if self._continues and rope is not None and rope.stretch(row.size) == rope.stretch(longest):
            reason = self._generate(row)
        while reason is None:
            reason = _take(row, self.logits(row.tokens, 1)[0])
        return Generation(row.new, reason)

    def _generate(self, row: Row) -> FinishReason | None:
        """Let transformers generate; what is chosen and when it ends is ours to say."""
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        reason: FinishReason | None = None

        def choose(ids: Tensor, scores: Tensor) -> Tensor:
            nonlocal reason
            del ids
            reason = _take(row, scores[0])
            chosen = torch.full_like(scores, float("-inf"))
            chosen[0, row.new[-1]] = 0
            return chosen

        def stop(ids: Tensor, scores: Any, **_: Any) -> Tensor:
            del scores
            return torch.full((len(ids),), reason is not None, device=ids.device)

        tokens = torch.tensor([list(row.tokens)], device=self.device)
        settings: Any = cast("Any", GenerationConfig)(
            max_new_tokens=row.request.max_new_tokens - len(row.new), do_sample=False, pad_token_id=0
        )
        with _no_defaults(self.model):
            cast("Any", self.model).generate(
                tokens,
                attention_mask=torch.ones_like(tokens),
                generation_config=settings,
                logits_processor=LogitsProcessorList([choose]),
                stopping_criteria=StoppingCriteriaList([stop]),
            )
        self.tokens += row.size - 1
        return reason

    def _check(self, where: str) -> None:
        """Try the model on token ids: alone, once more, and with tokens behind."""
        try:
            ids = self._some_tokens(min(_CHECKED, self.max_length or _CHECKED))
            once = self.logits(ids)
            again = self.logits(ids)
            start = self.logits(ids[: len(ids) // 2])
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise
            raise _does_not_run(error, where) from error
        except Exception as error:  # foreign code may raise anything
            raise _does_not_run(error, where) from error
        if once.shape != (len(ids), self.vocabulary):
            raise ModelError(
                f"the model gives logits of shape {list(once.shape)} for {len(ids)} tokens and a vocabulary "
                f"of {self.vocabulary}",
                where=where,
            )
        if not bool(torch.isfinite(once).all()):
            raise ModelError(
                f"the model's logits are not finite in {self.model.dtype}",
                where=where,
                hint="use a wider number format, such as float32",
            )
        if _differ(once, again, self.model.dtype):
            raise ModelError("two runs of the model on the same tokens differ", where=where)
        if _differ(once[: len(start)], start, self.model.dtype):
            raise ModelError(
                "what the model gives for a token depends on the tokens behind it: it is not causal",
                where=where,
                hint="an encoder's configuration needs is_decoder: true",
            )

    def _some_tokens(self, count: int) -> list[int]:
        usable = usable_tokens(self.model, self.vocabulary)
        return [usable[5 * place % len(usable)] for place in range(count)]

    def _generates_alike(self) -> bool:
        """Whether ``generate``, with its store of keys or states, gives what the forward gives."""
        room = (self.max_length or 64) - _GENERATED
        if self._rope is None or room < 1:
            return False
        prompt = tuple(self._some_tokens(min(6, room)))
        tape = Tape(self._some_tokens(_GENERATED))
        row = Row(0, GenerationRequest(prompt, _GENERATED, frozenset(), sampler=cast("Any", tape)))
        try:
            self._generate(row)
        except Exception as error:  # foreign code may raise anything; the forward is enough
            if is_out_of_memory(error):
                raise
            return False
        expected = self.logits([*prompt, *row.new[:-1]], _GENERATED)
        seen = torch.stack(tape.logits)
        return len(seen) == len(expected) and not _differ(seen, expected, self.model.dtype)


class Tape:
    """Takes given tokens one after another and keeps the logits that they were chosen from."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = iter(tokens)
        self.logits: list[Tensor] = []

    def draw(self, logits: Tensor) -> int:
        """The next token."""
        self.logits.append(logits.clone())
        return next(self._tokens)


def _take(row: Row, logits: Tensor) -> FinishReason | None:
    """Append a row's next token, chosen from logits [V]; why the row ends with it, if it does."""
    token = row.choose(logits) if bool(torch.isfinite(logits.max())) else None
    if token is None:
        raise NotFiniteError
    row.new.append(token)
    return row.ends_with(token)


def _differ(one: Tensor, other: Tensor, dtype: torch.dtype) -> bool:
    """Whether logits [N, V] differ by more than rounding."""
    scale = one.abs().max().clamp(min=1.0)
    off = (one - other).abs().amax(1).median()
    return not bool(off <= _TOLERANCE[dtype] * scale)


def _does_not_run(error: Exception, where: str) -> ModelError:
    lines = str(error).strip().splitlines()
    return ModelError(f"the model does not run on token ids: {lines[0] if lines else error!r}", where=where)


@contextmanager
def _no_defaults(model: PreTrainedModel) -> Iterator[None]:
    """Keep the model's own generation settings out of what is asked."""
    from transformers import GenerationConfig

    earlier = model.generation_config
    model.generation_config = cast("Any", GenerationConfig)()
    try:
        yield
    finally:
        model.generation_config = earlier
