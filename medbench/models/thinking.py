"""Whether a model is to reason before it answers, and what becomes of the reasoning it wrote."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medbench.models.responses import Response
from medbench.scoring.reasoning import TagPair

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from transformers import PreTrainedTokenizerBase

    from medbench.models.answers import Answer

__all__ = ["AS_TEMPLATE_SAYS", "Thinking", "switches"]

# Variables of chat templates that switch reasoning, with the values for on and off; None leaves one alone.
_SWITCHES: dict[str, tuple[bool | None, bool | int]] = {
    "enable_thinking": (True, False),  # Qwen3, GLM, SmolLM3, Hunyuan, ERNIE
    "thinking": (True, False),  # DeepSeek-V3.1, Granite
    "reasoning": (True, False),  # Command A Reasoning
    "thinking_budget": (None, 0),  # Seed-OSS, which reasons by itself
}
_CODE = re.compile(r"\{[%{](.*?)[%}]\}", re.DOTALL)
_TEXT = re.compile(r"'[^']*'|\"[^\"]*\"")


@dataclass(frozen=True)
class Thinking:
    """How a model reasons.

    Attributes:
        mode: ``on``, ``off``, or ``auto`` for what its chat template does by itself.
        tags: Marks of its own around reasoning, beside those that are known of all models.
    """

    mode: str = "auto"
    tags: tuple[TagPair, ...] = ()

    def template_arguments(self, template: str) -> dict[str, Any]:
        """What to tell a chat template about reasoning; nothing for ``auto``."""
        if self.mode == "auto":
            return {}
        place = 0 if self.mode == "on" else 1
        values = {name: _SWITCHES[name][place] for name in switches(template)}
        return {name: value for name, value in values.items() if value is not None}

    def given(self, kind: str, request: Instance, answer: Answer) -> Any:
        """An answer as lm-eval is given it."""
        # One of a few letters is an answer, also where the prompt ends inside a reasoning block.
        free = kind == "generate_until" and not request.args[1].get("constrain")
        return answer.as_lm_eval(kind, request.args[0] if free else "", self.tags)

    def respond(
        self,
        kind: str,
        requests: Sequence[Instance],
        answers: Sequence[Answer],
        tokenizer: PreTrainedTokenizerBase,
    ) -> list[Any]:
        """Answers as lm-eval is given them, the tokens of their reasoning counted.

        Args:
            kind: The kind of the requests.
            requests: What was asked.
            answers: The answer to each.
            tokenizer: The model's.
        """
        given = [self.given(kind, request, answer) for request, answer in zip(requests, answers, strict=True)]
        responses = [response for response in given if isinstance(response, Response)]
        reasoned = [response for response in responses if response.parts.thinking]
        texts = [str(response.parts.thinking) for response in reasoned]
        encoded = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        for response, tokens in zip(reasoned, encoded, strict=True):
            response.thinking_tokens = len(tokens)
        return given


AS_TEMPLATE_SAYS = Thinking()
"""What a chat template does by itself, and the marks that are known of all models."""


def switches(template: str) -> tuple[str, ...]:
    """The variables of a chat template that switch reasoning."""
    code = " ".join(_TEXT.sub(" ", part) for part in _CODE.findall(template))
    return tuple(name for name in _SWITCHES if re.search(rf"(?<![\w.]){name}\b", code))
