"""Answers as an lm-eval model: what every model here has in common, and all that scoring anew needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

# Both must be imported before anything is registered, or lm-eval's own models and metrics vanish.
import lm_eval.api.metrics
import lm_eval.models  # noqa: F401
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM

from medbench.errors import ModelError
from medbench.models.checkpoints.chat import AS_TEMPLATE_SAYS, Thinking, render_chat
from medbench.models.harness.answers import Answer, AnswerStore, given_answers, request_keys

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class StoredLM(TemplateLM):  # type: ignore[misc] # lm-eval has no types
    """Answers lm-eval's requests from a store, and computes nothing.

    Args:
        tokenizer: The model's, for its chat template.
        store: The answers.
        seed: Seed of sampling that the answers were given with.
        thinking: Whether the model is to reason, and how it marks that.
        system_prompt: First message of chats that have none.
        chat_arguments: What else the chat template is told, by name.
    """

    backend = "causal"

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        store: AnswerStore,
        *,
        seed: int,
        thinking: Thinking = AS_TEMPLATE_SAYS,
        system_prompt: str | None = None,
        chat_arguments: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self._store = store
        self._seed = seed
        self._thinking = thinking
        self._system_prompt = system_prompt
        self._chat_arguments = chat_arguments
        self.asked: set[str] = set()  # keys of the requests so far

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        token = self.tokenizer.eos_token_id
        if token is None:
            raise ModelError("the tokenizer has no end-of-text token")
        return int(token)

    @property
    def tokenizer_name(self) -> str:
        """Name of the tokenizer, for lm-eval's request cache."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Write a chat as the prompt the model was trained on; see :func:`render_chat`.

        Raises:
            ModelError: The tokenizer has no chat template, or it refuses the chat.
        """
        return render_chat(
            self.tokenizer,
            chat_history,
            add_generation_prompt=add_generation_prompt,
            system_prompt=self._system_prompt,
            thinking=self._thinking,
            arguments=self._chat_arguments,
        )

    def get_model_info(self) -> dict[str, Any]:
        """Nothing: no model ran."""
        return {}

    def tok_encode(self, string: str, **_: Any) -> list[int]:
        """Encode one text."""
        return [int(token) for token in self.tokenizer(string)["input_ids"]]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[Any]:
        """Log-probability of each continuation, and whether greedy decoding would write it."""
        del disable_tqdm
        return self._answers("loglikelihood", requests)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[Any]:
        """Log-probability of each text, in windows of the model's length that overlap by one token."""
        del disable_tqdm
        return self._answers("loglikelihood_rolling", requests)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[Any]:
        """The continuation of each prompt, up to a stop string, the end token or the limit."""
        del disable_tqdm
        return self._answers("generate_until", requests)

    def _loglikelihood_tokens(self, requests: list[Any], **_: Any) -> list[tuple[float, bool]]:
        raise ModelError("stored answers cannot answer requests given as tokens")

    def _answers(self, kind: str, requests: Sequence[Instance]) -> list[Any]:
        answers = self.answer(kind, requests, request_keys(kind, requests, self._seed))
        return given_answers(kind, requests, answers, self.tokenizer, self._thinking.tags)

    def answer(self, kind: str, requests: Sequence[Instance], keys: Sequence[str]) -> list[Answer]:
        """The answers to requests.

        Args:
            kind: ``loglikelihood``, ``loglikelihood_rolling`` or ``generate_until``.
            requests: lm-eval's requests of that kind.
            keys: Their keys (:func:`~medbench.models.harness.answers.request_keys`). The seed of a sampled
                answer is made of its key, so whoever asks for part of a job gives the keys of the whole.

        Raises:
            ModelError: Some have no answer.
        """
        known = self._store.get(keys)
        self.asked.update(keys)
        for key, request in zip(keys, requests, strict=True):
            if key not in known:
                raise self._refusal(key, request, sum(key not in known for key in keys), len(keys))
        return [known[key] for key in keys]

    def _refusal(self, key: str, request: Instance, missing: int, asked: int) -> ModelError:
        """Why a request has no answer."""
        del key
        return ModelError(
            f"{missing} of {asked} requests have no stored answer",
            where=f"{request.task_name}, document {request.doc_id}, request {request.idx}",
            hint="its prompt or generation settings changed, or it was never asked: "
            "run without --rescore to have the model answer it",
        )
