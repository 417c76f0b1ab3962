"""A checkpoint of an architecture, answered by the engine and by the model itself, one row at a time."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from medbench.errors import ModelError
from medbench.models import Engine, load_model
from tests.models.zoo import tiny_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["BUDGETS", "STEPS", "TOLERANCE", "Trial", "try_architecture"]

TOLERANCE = 1e-4  # of a log-probability
STEPS = 40  # tokens that are generated
BUDGETS = (64, 4096)  # tokens of a batch
_TIE = 1e-4  # of two logits


@dataclass(frozen=True)
class Trial:
    """What came of an architecture.

    Attributes:
        architecture: Its model type.
        verdict: ``packed`` or ``reference``, ``refused``; ``wrong`` where an answer differs from the model's
            own; ``not built`` where transformers itself cannot make, save, load or run a tiny model, or
            gives two answers to one question.
        why: Why it is not packed, is refused, or could not be built.
        off: Largest difference of a log-probability.
        texts: Whether all generated texts are the model's own.
    """

    architecture: str
    verdict: str
    why: str = ""
    off: float = 0.0
    texts: bool = True


def try_architecture(architecture: str, folder: Path) -> Trial:
    """Write a tiny checkpoint, load it as a run does, and hold all answers against transformers'."""
    try:
        truth = _Truth(_saved(architecture, folder))
        first, again = truth.answers(), truth.answers()
    except Exception as error:  # noqa: BLE001 - foreign code may raise anything
        return Trial(architecture, "not built", _line(error))
    off, texts = 0.0, True
    try:
        model = load_model(folder)
        engines = [Engine(model, max_batch_tokens=budget) for budget in BUDGETS]
        for engine in engines:
            scores = [score.logprob for score in engine.score(_REQUESTS)]
            off = max(off, *(abs(one - other) for one, other in zip(scores, first[0], strict=True)))
            for prompt, own, given in zip(_PROMPTS, first[1], engine.generate(_PROMPTS, STEPS), strict=True):
                texts = texts and truth.same(prompt, own, list(given.token_ids))
    except ModelError as error:
        return Trial(architecture, "refused", error.what)
    if first != again:
        return Trial(architecture, "not built", "transformers itself gives two answers to one question")
    kind, why = engines[0].kind, engines[0].why_reference
    if not (off <= TOLERANCE and texts):
        return Trial(architecture, "wrong", f"{kind}: {off:.2g} off, texts {texts}", off, texts)
    return Trial(architecture, kind, why, off, texts)


def _saved(architecture: str, folder: Path) -> PreTrainedModel:
    """Save a tiny model and read it again as transformers does."""
    from transformers import AutoModelForCausalLM

    tiny_model(architecture).save_pretrained(folder)
    auto = cast("Any", AutoModelForCausalLM)
    model: PreTrainedModel = auto.from_pretrained(folder, dtype=torch.float32)
    model.train(False)
    return model


def _some(count: int, seed: int) -> list[int]:
    draw = torch.Generator().manual_seed(seed)
    return [int(token) for token in torch.randint(5, 90, (count,), generator=draw)]


# Contexts with a prefix in common, some with several continuations; some beyond every window; short ones.
_PREFIX = _some(20, 1)
_CONTEXTS = [
    *([*_PREFIX, *_some(3, place)] for place in range(2, 6)),
    _some(60, 7),
    _some(2, 8),
    _some(41, 9),
]
_REQUESTS = [
    (context, _some(1 + (place + option) % 3, 20 + 3 * place + option))
    for place, context in enumerate(_CONTEXTS)
    for option in range(1 + place % 2)
]
_PROMPTS = [[*_PREFIX, *_some(4, 60)], [*_PREFIX, *_some(6, 61)], _some(5, 62)]


class _Truth:
    """The model's own forward over whole sequences, without a store."""

    def __init__(self, model: Any) -> None:
        self._model = model
        more = inspect.signature(model.forward).parameters
        self._more = {"use_cache": False} if "use_cache" in more else {}

    @torch.no_grad()
    def logits(self, ids: Sequence[int]) -> Tensor:
        logits: Tensor = self._model(input_ids=torch.tensor([list(ids)]), **self._more).logits[0]
        return logits.double()

    def answers(self) -> tuple[list[float], list[list[int]]]:
        return [self._score(*request) for request in _REQUESTS], [self._text(prompt) for prompt in _PROMPTS]

    def same(self, prompt: Sequence[int], own: list[int], given: list[int]) -> bool:
        """Whether a text is the model's own, up to where two tokens are equally likely."""
        if own == given:
            return True
        place = next(place for place, pair in enumerate(zip(own, given, strict=False)) if pair[0] != pair[1])
        logits = self.logits([*prompt, *own[:place]])[-1]
        return float(logits[own[place]] - logits[given[place]]) < _TIE

    def _score(self, context: Sequence[int], continuation: Sequence[int]) -> float:
        logp = self.logits([*context, *continuation[:-1]]).log_softmax(-1)[len(context) - 1 :]
        return float(sum(row[token] for row, token in zip(logp, continuation, strict=True)))

    def _text(self, prompt: Sequence[int]) -> list[int]:
        ids = list(prompt)
        for _ in range(STEPS):
            ids.append(int(self.logits(ids)[-1].argmax()))
        new = ids[len(prompt) :]
        # Bart and its relatives say that a text of the longest length ends with this token.
        forced = self._model.generation_config.forced_eos_token_id
        return new if forced is None else [*new[:-1], forced if isinstance(forced, int) else forced[0]]


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {' '.join(lines[:2])}"[:300]
