"""Encode texts as lm-eval's own backends do, but in batches, and equal texts once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medbench.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Encoder:
    """Encodes prompts and continuations.

    Args:
        tokenizer: The model's.
        prefix_token_id: The context of requests whose context is empty.
        add_bos_token: Whether to put BOS and other special tokens in front of a text; ``None``: as the
            tokenizer does. With true, BOS is added even if the tokenizer would add none.

    Raises:
        ModelError: ``add_bos_token`` is true, but the tokenizer has no BOS.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        prefix_token_id: int,
        add_bos_token: bool | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._prefix = prefix_token_id
        self._add_bos = add_bos_token
        self._bos = str(tokenizer.decode([prefix_token_id]))
        if add_bos_token and tokenizer.bos_token_id is None:
            raise ModelError(
                "the tokenizer has no BOS token", where="add_bos_token", hint="leave it to the tokenizer"
            )

    def encode(self, texts: Sequence[str], add_special_tokens: bool | None = None) -> list[list[int]]:
        """Encode texts.

        Args:
            texts: The texts; equal ones are encoded once.
            add_special_tokens: Whether to add special tokens; ``None``: by ``add_bos_token``, except for
                texts that already begin with the prefix token's text.
        """
        if add_special_tokens is None:
            add_special_tokens = self._add_bos
            begun = {text for text in texts if self._bos and text.startswith(self._bos)}
        else:
            begun = set()
        plain = list(dict.fromkeys(text for text in texts if text not in begun))
        known = dict(zip(plain, self._batch(plain, add_special_tokens), strict=True))
        if add_special_tokens and self._add_bos:
            bos = int(self._tokenizer.bos_token_id)
            known = {text: ids if ids[:1] == [bos] else [bos, *ids] for text, ids in known.items()}
        ready = list(begun)
        known |= dict(zip(ready, self._batch(ready, False), strict=True))
        return [known[text] for text in texts]

    def pairs(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[list[int], list[int]]]:
        """Encode (context, continuation) pairs.

        Both are encoded as one text and cut after as many tokens as the context has alone. Spaces at the end
        of a context move to the continuation. An empty context becomes the prefix token. If the cut would
        leave no token to score, the two are encoded separately.
        """
        moved = [
            _move_spaces(context, continuation) if context else ("", continuation)
            for context, continuation in pairs
        ]
        full = [(context, continuation) for context, continuation in moved if context]
        contexts = dict(zip((c for c, _ in full), self.encode([c for c, _ in full]), strict=True))
        wholes = dict(zip(full, self.encode([c + k for c, k in full]), strict=True))
        apart = [
            continuation
            for context, continuation in moved
            if not context or len(wholes[context, continuation]) <= len(contexts[context])
        ]
        alone = dict(zip(apart, self.encode(apart, add_special_tokens=False), strict=True))
        encoded = []
        for context, continuation in moved:
            if continuation not in alone or (
                context and len(wholes[context, continuation]) > len(contexts[context])
            ):
                start = contexts[context]
                encoded.append((start, wholes[context, continuation][len(start) :]))
            elif context:
                encoded.append((contexts[context], alone[continuation]))
            elif alone[continuation][:1] == [self._prefix]:
                encoded.append((alone[continuation][:1], alone[continuation][1:]))
            else:
                encoded.append(([self._prefix], alone[continuation]))
        return encoded

    def _batch(self, texts: Sequence[str], add_special_tokens: bool | None) -> list[list[int]]:
        if not texts:
            return []
        chosen = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        encoded = self._tokenizer(
            list(texts), return_attention_mask=False, return_token_type_ids=False, verbose=False, **chosen
        )
        ids: list[list[int]] = encoded["input_ids"]
        return ids


def _move_spaces(context: str, continuation: str) -> tuple[str, str]:
    stripped = context.rstrip()
    return stripped, context[len(stripped) :] + continuation
