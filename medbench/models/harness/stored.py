"""Answers given before, as an lm-eval model: for scoring them anew without the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

# Both must be imported before anything is registered, or lm-eval's own models and metrics vanish.
import lm_eval.api.metrics
import lm_eval.models  # noqa: F401
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM

from medbench.errors import ModelError
from medbench.models.checkpoints.chat import AS_TEMPLATE_SAYS, Thinking, render_chat
from medbench.models.harness.answers import AnswerStore, given_answers, request_keys

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class StoredLM(TemplateLM):  # type: ignore[misc] # lm-eval has no types
    """Answers lm-eval's requests from a store and computes nothing.

    Args:
        tokenizer: The model's, for its chat template.
        store: The answers.
        seed: Seed of sampling that the answers were given with.
        thinking: Whether the model is to reason, and how it marks that.
    """

    backend = "causal"

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        store: AnswerStore,
        *,
        seed: int,
        thinking: Thinking = AS_TEMPLATE_SAYS,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self._store = store
        self._seed = seed
        self._thinking = thinking
        self.asked: set[str] = set()  # keys of the requests so far

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def tokenizer_name(self) -> str:
        """Name of the tokenizer, for lm-eval's request cache."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Write a chat as the prompt the model was trained on; see :func:`render_chat`."""
        return render_chat(
            self.tokenizer,
            chat_history,
            add_generation_prompt=add_generation_prompt,
            thinking=self._thinking,
        )

    def get_model_info(self) -> dict[str, Any]:
        """Nothing: no model ran."""
        return {}

    def tok_encode(self, string: str, **_: Any) -> list[int]:
        """Encode one text."""
        return [int(token) for token in self.tokenizer(string)["input_ids"]]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[Any]:
        """The stored log-probabilities of continuations, and whether they are greedy."""
        return self._answers("loglikelihood", requests)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[Any]:
        """The stored log-probabilities of texts."""
        return self._answers("loglikelihood_rolling", requests)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[Any]:
        """The stored texts."""
        return self._answers("generate_until", requests)

    def _loglikelihood_tokens(self, requests: list[Any], **_: Any) -> list[tuple[float, bool]]:
        raise ModelError("stored answers cannot answer requests given as tokens")

    def _answers(self, kind: str, requests: Sequence[Instance]) -> list[Any]:
        keys = request_keys(kind, requests, self._seed)
        known = self._store.get(keys)
        self.asked.update(keys)
        for key, request in zip(keys, requests, strict=True):
            if key not in known:
                raise self._refusal(key, request, sum(key not in known for key in keys), len(keys))
        answers = [known[key] for key in keys]
        return given_answers(kind, requests, answers, self.tokenizer, self._thinking.tags)

    def _refusal(self, key: str, request: Instance, missing: int, asked: int) -> ModelError:
        """Why a request has no answer."""
        del key
        return ModelError(
            f"{missing} of {asked} requests have no stored answer",
            where=f"{request.task_name}, document {request.doc_id}, request {request.idx}",
            hint="its prompt or generation settings changed, or it was never asked: "
            "run without --rescore to have the model answer it",
        )
