"""Models that need no weights: one knows every answer, one gets every answer wrong, one says nothing.

They answer through lm-eval's own interface, so that what is checked is what a run does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

_UNLIKELY = -100.0


def gold_texts(task: Any, doc: dict[str, Any]) -> tuple[str, ...]:
    """Ways in which a perfect model would write the answer to a document, the likeliest first.

    A target of PromptCBLUE is written as it is; an exam's letters inside the phrase that protocols ask for.
    """
    target = task.doc_to_target(doc)
    if isinstance(target, list):
        target = target[0] if target else ""
    if isinstance(target, int) and task.config.doc_to_choice is not None:
        target = task.doc_to_choice(doc)[target]
    rendered = str(target)
    answer = doc.get("answer")
    if not isinstance(answer, str) or "letters" not in doc:
        return (rendered,)
    return (_phrase(doc, answer), rendered)


def _phrase(doc: dict[str, Any], letters: str) -> str:
    return f"The answer is {letters}." if doc.get("language") == "en" else f"答案为{letters}"


class _OracleLM(LM):  # type: ignore[misc]
    def __init__(self, task: Any) -> None:
        super().__init__()
        self._task = task

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:
        """Every text is equally likely: there is no gold for it."""
        return [_UNLIKELY] * len(requests)


class GoldLM(_OracleLM):
    """Gives the gold answer of every document.

    Args:
        task: The lm-eval task asked.
        form: Which of the forms of :func:`gold_texts` to write.
    """

    def __init__(self, task: Any, form: int) -> None:
        super().__init__(task)
        self._form = form

    def _is_gold(self, request: Instance) -> bool:
        target = self._task.doc_to_target(request.doc)
        if self._task.OUTPUT_TYPE == "multiple_choice":
            choices = list(self._task.doc_to_choice(request.doc))
            wanted = target if isinstance(target, list) else [target]
            wanted = [choices.index(one) if one in choices else one for one in wanted]
            return request.idx in wanted
        return str(target).strip() == str(request.args[1]).strip()

    def loglikelihood(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """The gold continuation is certain, the others unlikely."""
        return [(0.0, True) if self._is_gold(request) else (_UNLIKELY, False) for request in requests]

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """The gold answer of each document."""
        texts = [gold_texts(self._task, request.doc) for request in requests]
        return [forms[min(self._form, len(forms) - 1)] for forms in texts]


def wrong_letters(doc: dict[str, Any]) -> str:
    """Letters of an exam document that are not its answer: the others, or the first where all are right."""
    others = [letter for letter in doc["letters"] if letter not in doc["answer"]]
    return others[0] if len(doc["answer"]) == 1 else "".join(others) or str(doc["letters"][0])


class WrongLM(_OracleLM):
    """Gives a wrong answer to every exam document, in the form in which the right one scores."""

    def loglikelihood(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """The choice after the gold one is certain, the others unlikely."""
        return [(0.0, True) if self._is_wrong(request) else (_UNLIKELY, False) for request in requests]

    def _is_wrong(self, request: Instance) -> bool:
        choices = list(self._task.doc_to_choice(request.doc))
        target = self._task.doc_to_target(request.doc)
        gold = target[0] if isinstance(target, list) else target
        position = choices.index(gold) if isinstance(gold, str) else int(gold)
        return bool(request.idx == (position + 1) % len(choices))

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """The phrase that protocols ask for, with letters that are wrong."""
        return [_phrase(request.doc, wrong_letters(request.doc)) for request in requests]


class EmptyLM(_OracleLM):
    """Says nothing, and finds nothing likelier than anything else."""

    def loglikelihood(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Every continuation is equally likely."""
        return [(_UNLIKELY, False)] * len(requests)

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """An empty text for each request."""
        return [""] * len(requests)
