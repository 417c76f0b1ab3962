"""MixLoRA: experts that are whole MLPs, in the formats of the packages that train them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from medbench.models import convert, fingerprint, load_model, set_impl
from medbench.models.architecture.block import MoLoRABlock
from medbench.models.architecture.mixtures import mixtures_of
from medbench.models.architecture.skeleton import build_skeleton
from medbench.models.checkpoints.layouts import detect_layout
from tests.models import made_checkpoints as cp
from tests.models.made_checkpoints import BASES, Source, edit_json, edit_pickle, refused

_EXPERTS, _RANK, _ALPHA = 3, 2, 6
_OLD = {"gate_proj": "w1_proj", "up_proj": "w3_proj", "down_proj": "w2_proj"}
_TARGETS = ("q_proj", "v_proj", "gate_proj", "up_proj", "down_proj")
_CONFIG: dict[str, Any] = {
    "bias": "none",
    "peft_type": "MIXLORA",
    "task_type": "CAUSAL_LM",
    "r": _RANK,
    "lora_alpha": _ALPHA,
    "lora_dropout": 0.05,
    "routing_strategy": "mixlora",
    "num_experts": _EXPERTS,
    "top_k": 2,
}
_DYNAMIC = {"routing_strategy": "mixlora-dynamic", "top_k": None, "top_p": 0.7}


def write(
    folder: Path,
    base: str = "llama",
    targets: tuple[str, ...] = _TARGETS,
    *,
    old: bool = False,
    **changes: Any,
) -> Source:
    """A checkpoint with random weights, beside its base."""
    config, generator = BASES[base], torch.Generator().manual_seed(5)
    inner = changes.get("expert_lora") or {}

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) * 0.4

    tensors: dict[str, Tensor] = {}
    for name, shape in build_skeleton(config, torch.float32, where="test").shapes.items():
        linear, leaf = name.removesuffix(".weight"), name.removesuffix(".weight").rpartition(".")[2]
        layer = f"mixlora.{'.'.join(linear.split('.')[1:3])}"
        if not name.endswith(".weight") or leaf not in targets:
            continue
        if leaf not in _OLD:
            tensors[f"{layer}.self_attn.{leaf}.lora_A.weight"] = random(_RANK, shape[1])
            tensors[f"{layer}.self_attn.{leaf}.lora_B.weight"] = random(shape[0], _RANK)
            continue
        router = f"{layer}.gate.weight" if old else f"{layer}.mlp.moe_gate.weight"
        if router not in tensors:
            tensors[router] = random(_EXPERTS, config["hidden_size"])
        rank = inner.get("r", _RANK)
        for expert in range(_EXPERTS):
            stem = f"{layer}.experts.{expert}.{_OLD[leaf]}" if old else f"{layer}.mlp.{leaf}.experts.{expert}"
            tensors[f"{stem}.lora_A.weight"] = random(rank, shape[1])
            tensors[f"{stem}.lora_B.weight"] = random(shape[0], rank)
    base_folder = cp.write_base(folder / "base", config)
    adapter = folder / "adapter"
    adapter.mkdir()
    cp.write_json(adapter / "adapter_config.json", {**_CONFIG, "target_modules": list(targets)})
    edit_json(adapter / "adapter_config.json", **changes)
    torch.save(tensors, adapter / "adapter_model.bin")
    return Source(adapter, base_folder)


def _by_hand(block: MoLoRABlock, x: Tensor, tensors: dict[str, Tensor], layer: int, gate: str) -> Tensor:
    """The block token by token and expert by expert, from the file's tensors."""
    wide = {key: value.double() for key, value in tensors.items()}
    prefix, scaling, rows = f"mixlora.layers.{layer}.mlp", _ALPHA / _RANK, []

    def expert_linear(name: str, token: Tensor, expert: int) -> Tensor:
        linear = block.base.get_submodule(name)
        stem = f"{prefix}.{name}.experts.{expert}"
        y: Tensor = linear(token)
        if f"{stem}.lora_A.weight" in wide:
            y = y + scaling * (wide[f"{stem}.lora_B.weight"] @ (wide[f"{stem}.lora_A.weight"] @ token))
        return y

    for token in x:
        p = (wide[f"{prefix}.moe_gate.weight"] @ token).softmax(0)
        order = p.argsort(descending=True).tolist()
        weights = {}
        if gate == "top-k":
            weights = {expert: float(p[expert] / p[order[:2]].sum()) for expert in order[:2]}
        else:
            total, temperature = 0.0, float(gate) or 1.0
            for expert in order:
                weights[expert] = float(p[expert]) / temperature
                total += weights[expert]
                if total > 0.7:
                    break
        y = torch.zeros_like(token)
        for expert, weight in weights.items():
            inner = F.silu(expert_linear("gate_proj", token, expert)) * expert_linear(
                "up_proj", token, expert
            )
            y = y + weight * expert_linear("down_proj", inner, expert)
        rows.append(y)
    return torch.stack(rows)


@pytest.mark.parametrize("tokens", [7, 100])
@pytest.mark.parametrize("impl", ["stacked", "loop"])
@pytest.mark.parametrize(
    ("gate", "changes"),
    [("top-k", {}), ("0", _DYNAMIC), ("0.5", {**_DYNAMIC, "temperature": 0.5})],
)
@pytest.mark.parametrize("targets", [_TARGETS, ("gate_proj", "down_proj"), ("up_proj",)], ids=len)
def test_blocks_compute_the_published_formula(
    tmp_path: Path, targets: tuple[str, ...], gate: str, changes: dict[str, Any], impl: Any, tokens: int
) -> None:
    source = write(tmp_path, "llama", targets, **changes)
    assert detect_layout(source.path) == "mixlora"
    tensors = torch.load(source.path / "adapter_model.bin", weights_only=True)
    model = load_model(*source, dtype="float64", impl=impl)
    blocks = mixtures_of(model)
    assert len(blocks) == 2
    for block in blocks:
        assert isinstance(block, MoLoRABlock)
        x = torch.randn(tokens, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(tokens))
        torch.testing.assert_close(block(x), _by_hand(block, x, tensors, block.layer, gate))


def test_old_names_are_the_same_model(tmp_path: Path) -> None:
    source, old = write(tmp_path / "new"), write(tmp_path / "old", old=True, routing_strategy="mixtral")
    new_tensors = torch.load(source.path / "adapter_model.bin", weights_only=True)
    renamed = {
        name.replace(".mlp.moe_gate.", ".gate."): tensor
        for name, tensor in new_tensors.items()
        if ".experts." not in name
    }
    for name, tensor in new_tensors.items():
        if ".experts." in name:
            layer, linear = name.split(".mlp.")[0], name.split(".mlp.")[1].split(".")[0]
            expert = name.split(".experts.")[1].split(".", 1)
            renamed[f"{layer}.experts.{expert[0]}.{_OLD[linear]}.{expert[1]}"] = tensor
    torch.save(renamed, old.path / "adapter_model.bin")
    ids = torch.randint(0, 40, (1, 9))
    with torch.no_grad():
        assert torch.equal(load_model(*source)(ids).logits, load_model(*old)(ids).logits)


@pytest.mark.parametrize("changes", [{}, _DYNAMIC, {"act_fn": "gelu"}, {"use_rslora": True}], ids=str)
def test_conversion_is_bit_for_bit(tmp_path: Path, changes: dict[str, Any]) -> None:
    source = write(tmp_path / "s", **changes)
    written = convert(source.path, tmp_path / "c", source.base)
    first, second = load_model(*source), load_model(written)
    one, other = dict(first.named_parameters()), dict(second.named_parameters())
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    ids = torch.randint(0, 40, (2, 70))
    with torch.no_grad():
        assert torch.equal(first(ids).logits, second(ids).logits)
        set_impl(first, "loop")
        torch.testing.assert_close(first(ids).logits, second(ids).logits)


def test_expert_lora_needs_a_reading_where_it_matters(tmp_path: Path) -> None:
    same = {"r": _RANK, "lora_alpha": _ALPHA}
    load_model(*write(tmp_path / "same", expert_lora=same))
    source = write(tmp_path / "other", expert_lora={"r": _RANK, "lora_alpha": 3})
    refused(source, "two programs read it differently")
    models = {name: load_model(*source, layout=name) for name in ("mixlora-0.2.3", "mixlora-moe-peft")}
    assert {mixtures_of(model)[0].scaling for model in models.values()} == {_ALPHA / _RANK, 3 / _RANK}
    prints = [fingerprint(*source, layout=name)["model"] for name in models]
    assert prints[0] != prints[1]
    wide = write(tmp_path / "wide", expert_lora={"r": 4, "lora_alpha": 3})
    assert mixtures_of(load_model(*wide, layout="mixlora-moe-peft"))[0].rank == 4
    refused(wide, "wrong shape", layout="mixlora-0.2.3")


def _tensors(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    return lambda adapter: edit_pickle(adapter / "adapter_model.bin", change)


def _config(**changes: Any) -> Callable[[Path], None]:
    return lambda adapter: edit_json(adapter / "adapter_config.json", **changes)


def _changed(word: str, change: Callable[[Tensor], Tensor]) -> Callable[[Path], None]:
    def apply(tensors: dict[str, Tensor]) -> None:
        name = next(name for name in tensors if word in name)
        tensors[name] = change(tensors[name]).contiguous()

    return _tensors(apply)


def _gone(word: str) -> Callable[[Path], None]:
    return _tensors(lambda tensors: tensors.pop(next(name for name in tensors if word in name)))


_DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "no router": (_gone("moe_gate"), "missing tensors"),
    "no A": (_gone("experts.1.lora_A"), "missing tensors"),
    "no B": (_gone("experts.1.lora_B"), "missing tensors"),
    "no attention": (_gone("self_attn"), "missing tensors"),
    "a router of another width": (_changed("moe_gate", lambda t: t[:, 1:]), "wrong shape"),
    "a router of fewer experts": (_changed("moe_gate", lambda t: t[1:]), "wrong shape"),
    "a turned router": (_changed("moe_gate", lambda t: t.T), "wrong shape"),
    "a turned A": (_changed("experts.0.lora_A", lambda t: t.T), "wrong shape"),
    "a turned B": (_changed("experts.0.lora_B", lambda t: t.T), "wrong shape"),
    "no number": (_changed("experts.0.lora_B", lambda t: t * float("nan")), "not finite"),
    "a surplus expert": (
        _tensors(lambda t: t.update({n.replace("experts.2", "experts.3"): v for n, v in list(t.items())})),
        "no place for",
    ),
    "a surplus tensor": (_tensors(lambda t: t.update(more=torch.ones(1))), "no place for"),
    "more experts said": (_config(num_experts=4), "missing tensors|wrong shape"),
    "fewer experts said": (_config(num_experts=2), "no place for|wrong shape"),
    "one expert said": (_config(num_experts=1, top_k=1), "nothing to choose"),
    "more chosen than there are": (_config(top_k=4), "num_experts_per_token is 4"),
    "no k": (_config(top_k=None), "top_k is None, expected an integer"),
    "another rank": (_config(r=3), "wrong shape"),
    "no alpha": (_config(lora_alpha=None), "lora_alpha is None, expected a number"),
    "an unknown way of routing": (_config(routing_strategy="random"), "routing_strategy is 'random'"),
    "switch": (_config(routing_strategy="mixlora-switch"), "gives back the block's own input"),
    "noise": (_config(jitter_noise=0.01), "jitter_noise is 0.01"),
    "an unknown activation": (_config(act_fn="bent"), "act_fn is 'bent'"),
    "an activation that is no name": (_config(act_fn=3), "act_fn is 3"),
    "top_p of the other kind": (_config(top_p=0.5), "top_p is 0.5, which belongs to mixlora-dynamic"),
    "no top_p": (_config(**_DYNAMIC | {"top_p": None}), "top_p is None, expected a number"),
    "too much top_p": (_config(**_DYNAMIC | {"top_p": 1.5}), "top_p is 1.5"),
    "top_k beside top_p": (_config(**_DYNAMIC | {"top_k": 2}), "top_k is 2, which mixlora-dynamic"),
    "attention only": (_config(target_modules=["q_proj"]), "names no linear of the MLPs"),
    "an unknown target": (_config(target_modules=["w1"]), "target_modules is"),
    "experts with a bias": (_config(expert_lora={"bias": "all", "r": 2}), "bias is 'all'"),
    "experts with unknown settings": (_config(expert_lora={"dora": True}), "dora is True"),
    "experts without settings": (_config(expert_lora=[]), "expert_lora is"),
}


@pytest.mark.parametrize("damage", _DAMAGES)
def test_damaged_checkpoints_are_refused(tmp_path: Path, damage: str) -> None:
    source = write(tmp_path)
    change, message = _DAMAGES[damage]
    change(source.path)
    refused(source, message)
