"""Golden checkpoints and small checkpoints written on the spot."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from medbench.errors import ModelError
from medbench.models import load_model
from medbench.models.architecture.config import MoLoRAConfig
from medbench.models.architecture.skeleton import build_skeleton
from medbench.models.checkpoints.layouts import authors

GOLDEN_CASES = ("e4k2r8", "e8k2r16-rslora-gqa-tied")

MOLORA = MoLoRAConfig(num_experts=4, top_k=2, rank=2, alpha=4)

_COMMON: dict[str, Any] = {
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 16,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 1,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "vocab_size": 40,
}
BASES: dict[str, dict[str, Any]] = {
    "qwen2": {"model_type": "qwen2", **_COMMON},
    "llama": {"model_type": "llama", **_COMMON, "attention_bias": True, "mlp_bias": True},
    "qwen3": {"model_type": "qwen3", **_COMMON, "head_dim": 8, "tie_word_embeddings": True},
    "mistral": {"model_type": "mistral", **_COMMON, "sliding_window": None},
}
GPT2: dict[str, Any] = {
    "model_type": "gpt2",
    "n_embd": 16,
    "n_head": 2,
    "n_layer": 2,
    "n_positions": 64,
    "vocab_size": 40,
}
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")


class Source(NamedTuple):
    """What `load_model` takes to find a checkpoint."""

    path: Path
    base: Path | None = None


def golden(shared: Path, case: str, layout: str) -> Source:
    """A golden checkpoint in one of the authors' layouts."""
    folder = shared / "golden" / "checkpoints" / case
    if not folder.is_dir():
        pytest.skip(f"needs the golden checkpoint {folder}")
    return (
        Source(folder / "adapter-moe", folder / "base")
        if layout == "adapter"
        else Source(folder / "merged-moe")
    )


def expected(shared: Path, case: str) -> dict[str, Tensor]:
    """The tensors that the authors' implementation computed for a golden checkpoint."""
    tensors: dict[str, Tensor] = load_file(shared / "golden" / "checkpoints" / case / "expected.safetensors")
    return tensors


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def read_json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def write_base(folder: Path, config: dict[str, Any], seed: int = 0) -> Path:
    """A plain checkpoint with random weights."""
    folder.mkdir(parents=True)
    write_json(folder / "config.json", config)
    save_file(_random_base(config, seed), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def write_merged(folder: Path, config: dict[str, Any], molora: MoLoRAConfig = MOLORA, seed: int = 0) -> Path:
    """A checkpoint in the authors' merged layout with random weights."""
    folder.mkdir(parents=True)
    write_json(
        folder / "config.json",
        {**config, **_authors_keys(molora), "r": molora.rank, "lora_alpha": molora.alpha},
    )
    tensors = _random_base(config, seed) | random_experts(config, molora, seed + 1)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def write_adapter(
    folder: Path, config: dict[str, Any], molora: MoLoRAConfig = MOLORA, seed: int = 0
) -> Source:
    """A checkpoint in the authors' adapter layout beside its base, with random weights."""
    base = write_base(folder / "base", config, seed)
    adapter = folder / "adapter"
    adapter.mkdir()
    write_json(adapter / "config.json", {**config, **_authors_keys(molora)})
    write_json(
        adapter / "adapter_config.json",
        {
            "peft_type": "LORA",
            "base_model_name_or_path": "somewhere/else",
            "bias": "none",
            "fan_in_fan_out": False,
            "lora_alpha": molora.alpha,
            "r": molora.rank,
            "target_modules": list(TARGETS),
            "use_rslora": molora.use_rslora,
        },
    )
    save_file(random_lora(config, molora.rank, seed + 2), adapter / "adapter_model.safetensors")
    experts = random_experts(config, molora, seed + 1)
    torch.save(
        {f"base_model.model.{name}": tensor for name, tensor in experts.items()},
        adapter / "non_lora_trainables.bin",
    )
    return Source(adapter, base)


def random_experts(config: dict[str, Any], molora: MoLoRAConfig, seed: int) -> dict[str, Tensor]:
    """The authors' name -> random tensor, for every mixture of a base."""
    skeleton = build_skeleton(config, torch.float32, where="test")
    return _random(authors.expected_shapes(skeleton, molora).items(), seed, 0.5)


def random_lora(config: dict[str, Any], rank: int, seed: int) -> dict[str, Tensor]:
    """PEFT's name -> random tensor, for the attention of a base."""
    skeleton = build_skeleton(config, torch.float32, where="test")
    shapes = {}
    for name, shape in skeleton.shapes.items():
        linear, _, leaf = name.rpartition(".")
        if leaf == "weight" and linear.rpartition(".")[2] in TARGETS:
            shapes[f"base_model.model.{linear}.lora_A.weight"] = (rank, shape[1])
            shapes[f"base_model.model.{linear}.lora_B.weight"] = (shape[0], rank)
    return _random(shapes.items(), seed, 0.3)


def edit_json(path: Path, **changes: Any) -> None:
    """Change keys of a JSON object; ``None`` removes one."""
    value = read_json(path) | changes
    write_json(path, {key: item for key, item in value.items() if item is not None})


def edit_safetensors(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def edit_pickle(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = torch.load(path, weights_only=True)
    change(tensors)
    torch.save(tensors, path)


def refused(source: Source, message: str, **kwargs: Any) -> ModelError:
    """Demand that loading fails with a message."""
    with pytest.raises(ModelError, match=message) as caught:
        load_model(source.path, source.base, **kwargs)
    return caught.value


def _authors_keys(molora: MoLoRAConfig) -> dict[str, Any]:
    return {
        "num_experts": molora.num_experts,
        "num_experts_per_token": molora.top_k,
        "expert_selection": "top_k",
        "share_expert": False,
        "use_rslora": molora.use_rslora,
    }


def _random_base(config: dict[str, Any], seed: int) -> dict[str, Tensor]:
    skeleton = build_skeleton(config, torch.float32, where="test")
    shapes = [(name, shape) for name, shape in skeleton.shapes.items() if name not in skeleton.tied]
    return _random(shapes, seed, 0.3)


def _random(shapes: Iterable[tuple[str, tuple[int, ...]]], seed: int, scale: float) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) * scale for name, shape in shapes}
