"""Mixtures of LoRA experts in front of single linears, in the formats of their training codes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from medbench.models import MoLoRALinear, load_model, set_impl
from medbench.models.architecture.mixture import Impl, Mixture
from medbench.models.architecture.skeleton import build_skeleton
from medbench.models.checkpoints.layouts import detect_layout
from tests.models import made_checkpoints as cp
from tests.models.golden_experts import (
    check_choice,
    check_conversion,
    check_generations,
    check_logits,
    check_loglikelihoods,
    golden_case,
)
from tests.models.made_checkpoints import BASES, Source, edit_json, edit_pickle, refused

# Golden case -> how it is read.
GOLDEN = {
    "medcare-share": "auto",
    "loramoe": "auto",
    "hydralora": "auto",
    "loramoe-moepeft": "auto",
    "mola-moepeft": "auto",
    "mixlora": "auto",
    "mixlora-dynamic": "auto",
    "mixlora-expert-lora": "mixlora-0.2.3",
    "mixlora-moepeft-expert-lora": "mixlora-moe-peft",
}
_EXPERTS, _RANK, _ALPHA = 3, 2, 6
_MLP = ("gate_proj", "up_proj", "down_proj")
_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


@pytest.mark.parametrize("impl", ["stacked", "loop"])
@pytest.mark.parametrize("case", GOLDEN)
def test_golden_logits_and_choices(shared: Path, case: str, impl: Impl) -> None:
    golden = golden_case(shared, case)
    model = load_model(*golden.source, impl=impl, layout=GOLDEN[case])
    seen: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    for name, module in model.named_modules():
        if isinstance(module, Mixture):
            module.observer = lambda _, *routing, name=name: seen.update({name: routing})
    check_logits(model, golden.tensors)
    for name, (logits, choice, weights) in seen.items():
        published = golden.tensors[f"prefill.router_logits.{name}"]
        torch.testing.assert_close(logits, published, rtol=0, atol=1e-4)
        check_choice(published, choice)
        dense = torch.zeros_like(published).scatter(1, choice, weights)
        if (theirs := golden.tensors.get(f"prefill.router_weights.{name}")) is not None:
            shares = theirs / theirs.sum(1, keepdim=True)  # observers see what adds up to 1
            torch.testing.assert_close(dense, shares, rtol=0, atol=1e-4)
    assert len(seen) == sum("router_logits" in name for name in golden.tensors)


@pytest.mark.parametrize("case", GOLDEN)
def test_golden_generations_and_loglikelihoods(shared: Path, case: str) -> None:
    golden = golden_case(shared, case)
    model = load_model(*golden.source, layout=GOLDEN[case])
    check_generations(model, golden.told)
    check_loglikelihoods(model, golden.told)


@pytest.mark.parametrize("case", GOLDEN)
def test_golden_checkpoints_convert_bit_for_bit(shared: Path, case: str, tmp_path: Path) -> None:
    golden = golden_case(shared, case)
    check_conversion(golden.source, tmp_path / "converted", GOLDEN[case])


def test_a_golden_checkpoint_that_can_be_read_in_two_ways_is_refused(shared: Path) -> None:
    for case in ("mixlora-expert-lora", "mixlora-moepeft-expert-lora"):
        refused(golden_case(shared, case).source, "two programs read it differently")
    refused(golden_case(shared, "mixlora-switch").source, "routing_strategy is mixlora-switch")


class Format(NamedTuple):
    """How a format is written on the spot.

    Attributes:
        layout: What it is recognized as.
        config: ``adapter_config.json`` without rank, alpha and targets.
        routed: Last names of the linears with experts.
        plain: Those with plain LoRA.
        linear: What a linear is called in the file, of its ``layer``, ``block`` (such as mlp) and ``leaf``.
        experts: Key of ``adapter_config.json`` that says how many experts there are.
        router: Name of a linear's router.
        a: Name of expert i's A, or of the one that all share.
        b: Name of expert i's B.
    """

    layout: str
    config: dict[str, Any]
    routed: tuple[str, ...]
    plain: tuple[str, ...]
    linear: str
    experts: str
    router: str
    a: str
    b: str
    dense: bool = True

    def stem(self, module: str) -> str:
        """What a linear of the model is called in the file, such as ``model.layers.0.mlp.up_proj``."""
        _, _, layer, block, leaf = module.split(".")
        return self.linear.format(layer=layer, block=block, leaf=leaf)

    def layer(self, index: int) -> str:
        """What names of a layer's tensors begin with."""
        return f"{self.linear.partition('{layer}')[0]}{index}."

    def routers(self, stem: str) -> list[str]:
        """The name of a linear's router."""
        return [f"{stem}.{self.router}.weight"]

    def all_a(self, stem: str) -> list[str]:
        """Names of a linear's A, expert by expert, or of the one that all share."""
        return list(dict.fromkeys(f"{stem}.{self.a.format(i)}.weight" for i in range(_EXPERTS)))

    def all_b(self, stem: str) -> list[str]:
        """Names of a linear's B, expert by expert."""
        return [f"{stem}.{self.b.format(i)}.weight" for i in range(_EXPERTS)]


FORMATS = {
    "loramoe": Format(
        "loramoe",
        {"peft_type": "LORA", "lora_nums": _EXPERTS, "blc_alpha": 0.1, "bias": "none", "enable_lora": None},
        ("gate_proj", "down_proj"),
        (),
        "base_model.model.model.layers.{layer}.{block}.{leaf}",
        "lora_nums",
        "lora_route",
        "lora_A{}",
        "lora_B{}",
    ),
    "hydralora": Format(
        "hydralora",
        {"peft_type": "LORA", "lora_nums": _EXPERTS, "bias": "none"},
        _MLP,
        (),
        "base_model.model.model.layers.{layer}.{block}.{leaf}",
        "lora_nums",
        "lora_route",
        "lora_A",
        "lora_B{}",
    ),
    "moe-peft loramoe": Format(
        "loramoe",
        {"peft_type": "LORAMOE", "routing_strategy": "loramoe", "num_experts": _EXPERTS, "bias": "none"},
        _MLP,
        ("q_proj", "o_proj"),
        "loramoe.layers.{layer}.{block}.{leaf}",
        "num_experts",
        "moe_gate",
        "experts.{}.lora_A",
        "experts.{}.lora_B",
    ),
    "mola": Format(
        "mola",
        {
            "peft_type": "MOLA",
            "routing_strategy": "mola",
            "num_experts": _EXPERTS,
            "top_k": 2,
            "bias": "none",
            "use_rslora": True,
        },
        ("q_proj", "v_proj", "up_proj"),
        (),
        "mola.layers.{layer}.{block}.{leaf}",
        "num_experts",
        "moe_gate",
        "experts.{}.lora_A",
        "experts.{}.lora_B",
        dense=False,
    ),
}


def write(folder: Path, form: Format, base: str = "llama") -> Source:
    """A checkpoint with random weights, beside its base."""
    config = BASES[base]
    generator = torch.Generator().manual_seed(5)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) * 0.4

    tensors: dict[str, Tensor] = {}
    for name, shape in build_skeleton(config, torch.float32, where="test").shapes.items():
        linear, leaf = name.removesuffix(".weight"), name.removesuffix(".weight").rpartition(".")[2]
        if not name.endswith(".weight") or leaf not in form.routed + form.plain:
            continue
        stem = form.stem(linear)
        if leaf in form.plain:
            tensors[f"{stem}.lora_A.weight"] = random(_RANK, shape[1])
            tensors[f"{stem}.lora_B.weight"] = random(shape[0], _RANK)
            continue
        tensors[f"{stem}.{form.router}.weight"] = random(_EXPERTS, shape[1])
        for expert in range(_EXPERTS):
            tensors[f"{stem}.{form.a.format(expert)}.weight"] = random(_RANK, shape[1])
            tensors[f"{stem}.{form.b.format(expert)}.weight"] = random(shape[0], _RANK)
    base_folder = cp.write_base(folder / "base", config)
    adapter = folder / "adapter"
    adapter.mkdir()
    targets = {"target_modules": [*form.routed, *form.plain], "r": _RANK, "lora_alpha": _ALPHA}
    cp.write_json(adapter / "adapter_config.json", {**form.config, **targets, "lora_dropout": 0.05})
    torch.save(tensors, adapter / "adapter_model.bin")
    return Source(adapter, base_folder)


@pytest.mark.parametrize("base", ["llama", "qwen2", "qwen3", "mistral"])
@pytest.mark.parametrize("name", FORMATS)
def test_every_linear_computes_its_formats_formula(tmp_path: Path, name: str, base: str) -> None:
    form = FORMATS[name]
    source = write(tmp_path, form, base)
    assert detect_layout(source.path) == form.layout
    tensors = torch.load(source.path / "adapter_model.bin", weights_only=True)
    plain = load_model(source.base or "")
    model = load_model(*source, dtype="float64")
    scaling = _ALPHA / (_RANK**0.5 if form.config.get("use_rslora") else _RANK)
    routed = 0
    for linear, module in model.named_modules():
        leaf = linear.rpartition(".")[2]
        if leaf not in form.routed + form.plain:
            continue
        stem = form.stem(linear)
        if leaf in form.plain:
            merged = tensors[f"{stem}.lora_B.weight"] @ tensors[f"{stem}.lora_A.weight"] * scaling
            weight = plain.get_parameter(f"{linear}.weight") + merged
            torch.testing.assert_close(model.get_parameter(f"{linear}.weight").float(), weight)
            continue
        assert isinstance(module, MoLoRALinear)
        x = torch.randn(7, module.molora_in.shape[1], dtype=torch.float64)
        torch.testing.assert_close(module(x), _by_hand(module.base, x, tensors, stem, form, scaling))
        routed += 1
    assert routed == 2 * len(form.routed)


def _by_hand(
    base: Any, x: Tensor, tensors: dict[str, Tensor], stem: str, form: Format, scaling: float
) -> Tensor:
    """A mixture token by token, from the file's tensors."""
    wide = {key: value.double() for key, value in tensors.items()}
    rows = []
    for token in x:
        weights = (wide[f"{stem}.{form.router}.weight"] @ token).softmax(0)
        if not form.dense:
            kept = weights.topk(2).indices
            weights = torch.zeros_like(weights).index_put((kept,), weights[kept] / weights[kept].sum())
        y = base(token)
        for expert, weight in enumerate(weights):
            a = wide[f"{stem}.{form.a.format(expert)}.weight"]
            b = wide[f"{stem}.{form.b.format(expert)}.weight"]
            y = y + weight * scaling * (b @ (a @ token))
        rows.append(y)
    return torch.stack(rows)


@pytest.mark.parametrize("name", FORMATS)
def test_formats_convert_bit_for_bit(tmp_path: Path, name: str) -> None:
    source = write(tmp_path / "s", FORMATS[name])
    check_conversion(source, tmp_path / "converted")


@pytest.mark.parametrize("name", FORMATS)
def test_forms_agree(tmp_path: Path, name: str) -> None:
    source = write(tmp_path, FORMATS[name])
    model = load_model(*source, dtype="float64")
    ids = torch.randint(0, 40, (2, 11))
    with torch.no_grad():
        stacked = model(ids).logits
        set_impl(model, "loop")
        torch.testing.assert_close(model(ids).logits, stacked)


def _tensors(change: Callable[[dict[str, Tensor], Format, str], object]) -> Callable[[Path, Format], None]:
    """A change of the file with the tensors, told what one linear is called."""

    def apply(adapter: Path, form: Format) -> None:
        stem = form.stem(f"model.layers.1.mlp.{next(leaf for leaf in form.routed if leaf in _MLP)}")
        edit_pickle(adapter / "adapter_model.bin", lambda tensors: change(tensors, form, stem))

    return apply


def _config(**changes: Any) -> Callable[[Path, Format], None]:
    return lambda adapter, _: edit_json(adapter / "adapter_config.json", **changes)


def _experts(number: Any) -> Callable[[Path, Format], None]:
    def apply(adapter: Path, form: Format) -> None:
        edit_json(adapter / "adapter_config.json", **{form.experts: number})
        if "top_k" in form.config and number == _EXPERTS - 1:
            edit_json(adapter / "adapter_config.json", top_k=1)

    return apply


_Names = Callable[[Format, str], list[str]]


def _without(names: _Names) -> Callable[[Path, Format], None]:
    return _tensors(lambda tensors, form, stem: tensors.pop(names(form, stem)[0]))


def _changed(change: Callable[[Tensor], Tensor], names: _Names) -> Callable[[Path, Format], None]:
    def apply(tensors: dict[str, Tensor], form: Format, stem: str) -> None:
        tensors |= {name: change(tensors[name]).contiguous() for name in names(form, stem)}

    return _tensors(apply)


def _no_layer(tensors: dict[str, Tensor], form: Format, _: str) -> None:
    for name in [name for name in tensors if name.startswith(form.layer(1))]:
        del tensors[name]


def _another_layer(tensors: dict[str, Tensor], form: Format, _: str) -> None:
    tensors |= {name.replace(form.layer(1), form.layer(2)): tensor for name, tensor in tensors.items()}


def _another_expert(tensors: dict[str, Tensor], form: Format, stem: str) -> None:
    tensors[f"{stem}.{form.b.format(_EXPERTS)}.weight"] = tensors[form.all_b(stem)[0]]


def _exchanged(tensors: dict[str, Tensor], form: Format, stem: str) -> None:
    first, second = form.all_a(stem)[0], form.all_b(stem)[0]
    tensors[first], tensors[second] = tensors[second], tensors[first]


_DAMAGES: dict[str, tuple[Callable[[Path, Format], None], str]] = {
    "no router": (_without(Format.routers), "missing tensors"),
    "no A": (_without(Format.all_a), "missing tensors"),
    "no B": (_without(Format.all_b), "missing tensors"),
    "a layer is missing": (_tensors(_no_layer), "missing tensors"),
    "a surplus expert": (_tensors(_another_expert), "no place for"),
    "a surplus layer": (_tensors(_another_layer), "no place for"),
    "a surplus tensor": (_tensors(lambda tensors, *_: tensors.update(more=torch.ones(2))), "no place for"),
    "a router of another width": (_changed(lambda router: router[:, :-1], Format.routers), "wrong shape"),
    "a router of fewer experts": (_changed(lambda router: router[:-1], Format.routers), "wrong shape"),
    "a turned router": (_changed(lambda router: router.T, Format.routers), "wrong shape"),
    "a turned A": (_changed(lambda a: a.T, Format.all_a), "wrong shape"),
    "a turned B": (_changed(lambda b: b.T, Format.all_b), "wrong shape"),
    "A and B exchanged": (_tensors(_exchanged), "wrong shape"),
    "no number": (_changed(lambda b: b * float("nan"), Format.all_b), "not finite"),
    "infinity": (_changed(lambda router: router / 0, Format.routers), "not finite"),
    "a wrong name": (
        _tensors(lambda t, form, stem: t.update(wrong=t.pop(form.all_b(stem)[0]))),
        "missing tensors|no place for",
    ),
    "more experts said": (_experts(_EXPERTS + 1), "missing tensors|wrong shape"),
    "fewer experts said": (_experts(_EXPERTS - 1), "no place for|wrong shape"),
    "one expert said": (_experts(1), "nothing to choose"),
    "no number of experts": (_experts("three"), "expected an integer"),
    "another rank": (_config(r=_RANK + 1), "wrong shape"),
    "no rank": (_config(r=None), "r is None, expected an integer"),
    "no alpha": (_config(lora_alpha=None), "lora_alpha is None, expected a number"),
    "an alpha of nothing": (_config(lora_alpha=0), "lora_alpha is 0"),
    "an unknown target": (_config(target_modules=["query"]), "target_modules is"),
    "no targets": (_config(target_modules=[]), "target_modules is"),
    "targets by pattern": (_config(target_modules="all-linear"), "target_modules is"),
    "an unknown key": (_config(scale_experts=True), "scale_experts is True"),
    "a bias": (_config(bias="all"), "bias is 'all'"),
    "noise": (_config(jitter_noise=0.1), "jitter_noise is 0.1"),
    "dora": (_config(use_dora=True), "use_dora is True"),
}


@pytest.mark.parametrize("damage", _DAMAGES)
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_checkpoints_are_refused(tmp_path: Path, name: str, damage: str) -> None:
    source = write(tmp_path, FORMATS[name])
    change, message = _DAMAGES[damage]
    change(source.path, FORMATS[name])
    refused(source, message)


def test_experts_at_attention_are_refused_where_the_authors_code_runs_none(tmp_path: Path) -> None:
    source = write(tmp_path, FORMATS["loramoe"])
    edit_json(source.path / "adapter_config.json", target_modules=["q_proj", "up_proj"])
    refused(source, "linears of attention")


def test_an_adapter_without_its_tensors_is_refused(tmp_path: Path) -> None:
    for place, form in enumerate(FORMATS.values()):
        source = write(tmp_path / str(place), form)
        (source.path / "adapter_model.bin").unlink()
        refused(source, "no adapter_model")


def test_the_base_must_be_given(tmp_path: Path) -> None:
    source = write(tmp_path, FORMATS["mola"])
    shutil.rmtree(source.base or "")
    refused(Source(source.path), "an adapter needs its base model")
