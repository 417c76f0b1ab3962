"""A look at a checkpoint without building the model: what it is, and whether its files fit together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from medbench.errors import ModelError
from medbench.models.architecture.skeleton import build_skeleton
from medbench.models.checkpoints.chat import has_chat_template
from medbench.models.checkpoints.folder import CheckpointSource, has_tokenizer
from medbench.models.checkpoints.generation_config import (
    GENERATION_FILE,
    ConfiguredGeneration,
    read_generation_config,
)
from medbench.models.checkpoints.gguf import origin
from medbench.models.checkpoints.layouts import Checkpoint, open_checkpoint
from medbench.models.checkpoints.tensors import LazyTensor
from medbench.models.checkpoints.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class CheckReport:
    """What a checkpoint is and what is wrong with it; fields that could not be read are ``None``.

    Attributes:
        path: What was checked.
        base: The base model given with it.
        layout: How it lies on disk (:data:`medbench.common.choices.LAYOUTS`).
        architecture: The base architecture, transformers' ``model_type``.
        layers: Decoder layers.
        hidden_size: Width of the residual stream.
        intermediate_size: Width of the MLP.
        vocab_size: Rows of the embedding.
        mixture: Where its experts lie and how they are chosen; ``None`` for a plain model, as the next five.
        num_experts: Experts among which a router chooses.
        top_k: Experts that a token uses.
        rank: Rank of an expert.
        alpha: LoRA's alpha.
        scaling: Factor on an expert's output.
        tensors: Tensors of the loaded model.
        parameters: Their elements.
        expert_parameters: Elements of the experts and routers among them.
        dtypes: Element type -> tensors that have it on disk.
        bytes: Size of the tensor files.
        tokenizer: Whether there is a tokenizer.
        chat_template: Whether it has a chat template.
        generation: The settings by which answers are written
            (:class:`~medbench.models.checkpoints.generation_config.ConfiguredGeneration`).
        tried: Whether the model was opened as a run does
            (:func:`~medbench.models.harness.rehearsal.rehearse`), which the next three are known from.
        engine: What would answer: ``native`` or ``reference``.
        engine_why: Why it is not ``native``.
        engine_untried: Lengths beyond which it could not be tried.
        problems: Why the checkpoint would not load or run, one entry each.
        remarks: What may surprise, one entry each.
    """

    path: str
    base: str | None
    layout: str | None = None
    architecture: str | None = None
    layers: int | None = None
    hidden_size: int | None = None
    intermediate_size: int | None = None
    vocab_size: int | None = None
    mixture: str | None = None
    num_experts: int | None = None
    top_k: int | None = None
    rank: int | None = None
    alpha: float | None = None
    scaling: float | None = None
    tensors: int | None = None
    parameters: int | None = None
    expert_parameters: int | None = None
    dtypes: Mapping[str, int] | None = None
    bytes: int | None = None
    tokenizer: bool | None = None
    chat_template: bool | None = None
    generation: Mapping[str, Any] | None = None
    tried: bool = False
    engine: str | None = None
    engine_why: str | None = None
    engine_untried: tuple[int, ...] | None = None
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against the checkpoint, as far as it was looked at."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Return the fields and ``ok``, ready for JSON."""
        return asdict(self) | {"ok": self.ok}


def check(
    source: str | Path | CheckpointSource,
    base: str | Path | None = None,
    layout: str = "auto",
    *,
    read: bool = True,
) -> CheckReport:
    """Check a checkpoint as loading would, without building the model.

    Args:
        source: The checkpoint.
        base: Folder or hub id of the base model, of an adapter.
        layout: ``auto``, or the layout that it must have.
        read: Read every tensor, one at a time, for checksums and values that are not finite; without, only
            names and shapes are compared.
    """
    source = CheckpointSource.of(source, base, layout)
    base = None if source.base is None else str(source.base)
    named: dict[str, Any] = {"path": str(source.path), "base": base}
    try:
        checkpoint = open_checkpoint(source)
        tokenizer = None
        if has_tokenizer(checkpoint.model_folder):
            tokenizer = load_tokenizer(checkpoint.folder, checkpoint.base_folder)
        facts = _facts(checkpoint, tokenizer)
    except ModelError as error:
        return CheckReport(**named, problems=(str(error),))
    try:
        tensors = _plan(checkpoint)
    except ModelError as error:
        return CheckReport(**named, **facts, problems=(str(error),))
    experts = {name: tensor for name, tensor in tensors.items() if ".molora_" in name}
    return CheckReport(
        **named,
        **facts,
        tensors=len(tensors),
        parameters=_elements(tensors),
        expert_parameters=_elements(experts) if experts else None,
        dtypes=dict(Counter(str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values())),
        problems=tuple(_damaged(tensors, str(checkpoint.folder))) if read else (),
        remarks=tuple(_remarks(checkpoint, facts, tokenizer)),
    )


def _facts(checkpoint: Checkpoint, tokenizer: PreTrainedTokenizerBase | None) -> dict[str, Any]:
    config, molora = checkpoint.config, checkpoint.molora
    facts: dict[str, Any] = {
        "layout": checkpoint.layout,
        "architecture": config.get("model_type"),
        "layers": config.get("num_hidden_layers"),
        "hidden_size": config.get("hidden_size"),
        "intermediate_size": config.get("intermediate_size"),
        "vocab_size": config.get("vocab_size"),
        "bytes": sum(file.stat().st_size for file in checkpoint.files),
        "tokenizer": tokenizer is not None,
        "chat_template": tokenizer is not None and has_chat_template(tokenizer),
    }
    said = read_generation_config(checkpoint.model_folder)
    facts["generation"] = ConfiguredGeneration.of(said).as_dict()
    if molora is not None:
        facts |= {
            "mixture": molora.described(),
            "num_experts": molora.num_experts,
            "top_k": molora.top_k,
            "rank": molora.rank,
            "alpha": molora.alpha,
            "scaling": molora.scaling,
        }
    return facts


def _plan(checkpoint: Checkpoint) -> dict[str, LazyTensor]:
    """Compare names and shapes with the architecture's, and return the canonical tensors."""
    where = str(checkpoint.model_folder / "config.json")
    return checkpoint.plan(build_skeleton(checkpoint.config, torch.float32, where=where))


def _damaged(tensors: Mapping[str, LazyTensor], where: str) -> Iterator[str]:
    for name, tensor in tensors.items():
        try:
            value = tensor.read()
        except ModelError as error:
            yield str(error)
            continue
        if not bool(torch.isfinite(value).all()):
            yield f"{name} has values that are not finite\n  in: {where}"


def _remarks(
    checkpoint: Checkpoint, facts: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase | None
) -> Iterator[str]:
    if (gguf := origin(checkpoint.model_folder)) and gguf["quantized"]:
        types = ", ".join(f"{count} tensors in {name}" for name, count in gguf["tensor_types"].items())
        yield f"the GGUF file holds {types}: they are dequantized, and stay rounded as they were"
    if tokenizer is None:
        yield "no tokenizer beside the weights: text tasks cannot be evaluated"
    elif not facts["chat_template"]:
        yield "the tokenizer has no chat template: prompts would be sent as plain text"
    if tokenizer is not None and isinstance(known := facts["vocab_size"], int):
        largest = max(tokenizer.get_vocab().values(), default=0)
        if largest >= known:
            yield f"the tokenizer has tokens up to {largest}, the model {known}: texts that need others fail"
    if refused := facts["generation"].get("refused"):
        yield f"{GENERATION_FILE} asks for what is not carried out, so that no answer can be written: " + (
            ", ".join(f"{key} {value!r}" for key, value in refused.items())
        )
    for key, value in facts["generation"].get("left_to_tasks", {}).items():
        yield f"{key} {value} of {GENERATION_FILE} is not kept: tasks set the limit of their answers"


def _elements(tensors: Mapping[str, LazyTensor]) -> int:
    return sum(math.prod(tensor.shape) for tensor in tensors.values())
