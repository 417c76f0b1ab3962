"""Where a model comes from and how it is opened: one value for everybody who opens it, here or elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medbench.common.choices import Dtype
from medbench.models.checkpoints.folder import CheckpointSource

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class ModelSource(CheckpointSource):
    """A checkpoint and how to hold it; it can travel between processes.

    Attributes:
        dtype: Number format.
        device: Where to.
        quantization: Of the base weights.
        deterministic: Whether arithmetic is to be reproducible.
    """

    dtype: str = "float32"
    device: str = "cpu"
    quantization: str = "none"
    deterministic: bool = False

    def model(self, *, mapped: bool = False, spread: bool = False) -> PreTrainedModel:
        """Load the model (:func:`~medbench.models.checkpoints.loading.load_model`)."""
        from medbench.models.checkpoints.loading import load_model

        return load_model(
            self,
            dtype=self.dtype,
            device=self.device,
            mapped=mapped,
            spread=spread,
            quantization=self.quantization,
            deterministic=self.deterministic,
        )

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Load the tokenizer (:func:`~medbench.models.checkpoints.tokenizer.load_tokenizer`)."""
        from medbench.models.checkpoints.tokenizer import load_tokenizer

        return load_tokenizer(self)

    def system_prompt(self) -> str:
        """The system prompt that a chat with the checkpoint begins with by default; empty for none."""
        from medbench.models.checkpoints.chat import AUTHORS_SYSTEM_PROMPT

        return AUTHORS_SYSTEM_PROMPT if self._of_authors() else ""

    def gpu_dtype(self) -> Dtype:
        """The number format that the checkpoint is computed in by default on a GPU."""
        return "float16" if self._of_authors() else "bfloat16"

    def fingerprint(self) -> dict[str, Any]:
        """Identify the checkpoint by its content, see :func:`medbench.models.fingerprint`."""
        from medbench.models.checkpoints.identity import fingerprint

        return fingerprint(self)

    def _of_authors(self) -> bool:
        """Whether the files are in a layout of MING-MOE's authors, wherever they lie."""
        from medbench.models.checkpoints.layouts import is_of_authors

        return is_of_authors(self.folder())
