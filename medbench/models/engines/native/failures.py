"""Requests that could not be answered, as one error that names them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from medbench.errors import ModelError
from medbench.models.routing.counts import RoutingLabel

__all__ = ["FailedRequest", "failure"]

_NAMED = 4


class FailedRequest(NamedTuple):
    """A request without an answer.

    Attributes:
        place: Its index among the requests.
        why: What went wrong.
        hint: What to do about it.
    """

    place: int
    why: str
    hint: str

    @classmethod
    def not_finite(cls, place: int) -> FailedRequest:
        """The model's logits were not finite."""
        return cls(place, "the model's logits are not finite", "use a wider number format, such as float32")

    @classmethod
    def too_large(cls, place: int, tokens: int) -> FailedRequest:
        """The request does not fit into memory, even alone."""
        why = f"a request of {tokens} tokens does not fit into memory"
        return cls(place, why, "use a narrower number format, a larger device, or shorter prompts")


def failure(failed: Sequence[FailedRequest], labels: Sequence[RoutingLabel] | None) -> ModelError:
    """The error for requests that failed; the first few are named."""
    names = [
        f"request {request.place}"
        + (f" ({labels[request.place][0]}, document {labels[request.place][1]})" if labels else "")
        for request in failed[:_NAMED]
    ]
    if len(failed) > _NAMED:
        names.append(f"{len(failed) - _NAMED} more")
    return ModelError(failed[0].why, where=", ".join(names), hint=failed[0].hint)
