"""Models that need no weights: one knows every answer, one always gives the same, one says nothing.

They answer through lm-eval's own interface, so that a task is exercised from its YAML to its scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

__all__ = ["ConstantLM", "EmptyLM", "GoldLM", "OracleLM", "evaluate", "gold_text"]

Document = Mapping[str, Any]


def gold_text(doc: Document) -> str:
    """The answer that a perfect model would write: a PromptCBLUE target, or the phrase of an exam."""
    if "target" in doc:
        return str(doc["target"])
    letters = str(doc["answer"])
    return f"The answer is {letters}." if doc["language"] == "en" else f"答案为{letters}"


def _golden(doc: Document) -> tuple[str, ...]:
    """Continuations that are right: a target, or an exam's letters or the text of the one right option."""
    if "target" in doc:
        return (str(doc["target"]),)
    letters = str(doc["answer"])
    if len(letters) > 1:
        return (letters,)
    return (letters, str(doc["options"][doc["letters"].index(letters)]))


class OracleLM(LM):  # type: ignore[misc]
    """A model that is a pair of functions of the document.

    Args:
        write: The text generated for a document.
        like: The log-likelihood of a continuation of a document's prompt.

    Attributes:
        prompts: Every prompt seen, in order.
    """

    def __init__(self, write: Callable[[Document], str], like: Callable[[Document, str], float]) -> None:
        super().__init__()
        self._write = write
        self._like = like
        self.prompts: list[str] = []

    def loglikelihood(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """One (log-likelihood, whether greedy) for each request."""
        answers = []
        for request in requests:
            prompt, continuation = request.args[:2]
            self.prompts.append(prompt)
            value = self._like(request.doc, continuation)
            answers.append((value, value == 0.0))
        return answers

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """One text for each request."""
        self.prompts.extend(request.args[0] for request in requests)
        return [self._write(request.doc) for request in requests]

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:
        """No task asks for the likelihood of a whole text."""
        raise NotImplementedError("no task asks for the likelihood of a whole text")


class GoldLM(OracleLM):
    """Gives the gold answer of every document."""

    def __init__(self) -> None:
        def like(doc: Document, continuation: str) -> float:
            return 0.0 if continuation.strip() in _golden(doc) else -50.0

        super().__init__(gold_text, like)


class ConstantLM(OracleLM):
    """Gives one answer to every document, and prefers it among options."""

    def __init__(self, answer: str) -> None:
        super().__init__(lambda _: answer, lambda _, text: 0.0 if text.strip() == answer else -50.0)


class EmptyLM(OracleLM):
    """Writes nothing, and finds every option equally likely."""

    def __init__(self) -> None:
        super().__init__(lambda _: "", lambda *_: -1.0)


def evaluate(model: LM, tasks: Sequence[str], manager: Any, **settings: Any) -> dict[str, Any]:
    """Run tasks through lm-eval and return its result, without bootstrap.

    Args:
        model: The model that answers.
        tasks: Names of tasks, groups or tags.
        manager: The lm-eval `TaskManager` that knows them.
        **settings: Further arguments of `lm_eval.simple_evaluate`.
    """
    from lm_eval import simple_evaluate

    result = simple_evaluate(
        model=model,
        tasks=list(tasks),
        task_manager=manager,
        bootstrap_iters=0,
        verbosity="ERROR",
        **settings,
    )
    assert isinstance(result, dict)
    return result
