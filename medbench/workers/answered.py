"""The driver's lm-eval model: the answers of the workers, or their reasons for having none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from medbench.errors import ModelError
from medbench.models.harness.stored import StoredLM

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

    from medbench.workers.replica import Failure


class AnsweredLM(StoredLM):
    """Answers requests from the store that workers have filled.

    Attributes:
        failures: Reasons for missing answers, by key.
        info: The model and engine of the workers.
    """

    failures: Mapping[str, Failure] = {}
    info: Mapping[str, Any] = {}

    def get_model_info(self) -> dict[str, Any]:
        """The model and engine of the workers."""
        return dict(self.info)

    def _refusal(self, key: str, request: Instance, missing: int, asked: int) -> ModelError:
        failure = self.failures.get(key)
        if failure is not None:
            return failure.error()
        return ModelError(
            f"{missing} of {asked} requests were not answered by the workers",
            where=f"{request.task_name}, document {request.doc_id}, request {request.idx}",
            hint="the task builds different requests each time; run it in one process, without --workers",
        )
