"""MedCare: MING-MOE's experts, and others that every token passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from medbench.models import MoLoRALinear, load_model, set_impl
from medbench.models.architecture.mixture import Impl
from tests.models import made_checkpoints as cp
from tests.models.golden_experts import check_conversion, check_logits, golden_case
from tests.models.made_checkpoints import BASES, Source, edit_json, edit_pickle, refused

_SHARED = 2


def write_medcare(folder: Path) -> Source:
    """A checkpoint of MedCare with random weights."""
    source = cp.write_adapter(folder, BASES["qwen2"])
    edit_json(source.path / "config.json", share_expert=True, num_share_experts=_SHARED)
    generator = torch.Generator().manual_seed(6)

    def add(tensors: dict[str, Tensor]) -> None:
        for name in [name for name in tensors if name.endswith("experts.0.lora_A_0.weight")]:
            stem = name.removesuffix("experts.0.lora_A_0.weight")
            width, out = tensors[name].shape[1], len(tensors[f"{stem}experts.0.lora_B_0.weight"])
            rank = _SHARED * cp.MOLORA.rank
            tensors[f"{stem}share_experts.lora_A.weight"] = torch.randn(rank, width, generator=generator)
            tensors[f"{stem}share_experts.lora_B.weight"] = torch.randn(out, rank, generator=generator)

    edit_pickle(source.path / "non_lora_trainables.bin", add)
    return source


@pytest.mark.parametrize(
    ("layout", "key"),
    [
        ("medcare-no-share", "alternative.no_share.logits"),
        ("medcare-share", "alternative.share_merged_without_experts.logits"),
    ],
)
def test_golden_readings_of_medcare(shared: Path, layout: str, key: str) -> None:
    golden = golden_case(shared, "medcare-share")
    model = load_model(*golden.source, layout=layout)
    check_logits(model, {**golden.tensors, "prefill.logits": golden.tensors[key]})


@pytest.mark.parametrize("impl", ["stacked", "loop"])
def test_shared_experts_have_weight_one_and_the_scaling_of_one_expert(tmp_path: Path, impl: Impl) -> None:
    source = write_medcare(tmp_path)
    with_shared = load_model(*source, dtype="float64", impl=impl)
    experts = torch.load(source.path / "non_lora_trainables.bin", weights_only=True)
    edit_json(source.path / "config.json", share_expert=False)
    edit_pickle(
        source.path / "non_lora_trainables.bin",
        lambda tensors: [tensors.pop(name) for name in list(tensors) if "share_experts" in name],
    )
    without = dict(load_model(*source, dtype="float64").named_modules())
    for name, module in with_shared.named_modules():
        if isinstance(module, MoLoRALinear):
            a = experts[f"base_model.model.{name}.share_experts.lora_A.weight"].double()
            b = experts[f"base_model.model.{name}.share_experts.lora_B.weight"].double()
            x = torch.randn(5, a.shape[1], dtype=torch.float64)
            shared = F.linear(F.linear(x, a), b) * cp.MOLORA.scaling
            torch.testing.assert_close(module(x), without[name](x) + shared)
            module.scaling = 0.0  # switches off what is chosen, not what every token passes
            torch.testing.assert_close(module(x), module.base(x) + shared)


def _shared(change: Callable[[dict[str, Tensor], list[str]], object]) -> Callable[[Path], None]:
    def apply(adapter: Path) -> None:
        def edit(tensors: dict[str, Tensor]) -> None:
            change(tensors, [name for name in tensors if "share_experts" in name])

        edit_pickle(adapter / "non_lora_trainables.bin", edit)

    return apply


def _said(**changes: Any) -> Callable[[Path], None]:
    return lambda adapter: edit_json(adapter / "config.json", **changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_shared(lambda t, names: t.pop(names[0])), "missing tensors"),
        (_shared(lambda t, names: t.pop(names[1])), "missing tensors"),
        (_shared(lambda t, names: [t.pop(name) for name in names]), "missing tensors"),
        (_shared(lambda t, names: t.update({names[0]: t[names[0]][:2]})), "wrong shape"),
        (_shared(lambda t, names: t.update({names[0]: t[names[0]].T.contiguous()})), "wrong shape"),
        (_shared(lambda t, names: t.update({names[1]: t[names[1]][:, :2]})), "wrong shape"),
        (_shared(lambda t, names: t.update({names[0]: t[names[1]], names[1]: t[names[0]]})), "wrong shape"),
        (_shared(lambda t, names: t[names[0]].fill_(float("inf"))), "not finite"),
        (_shared(lambda t, names: t.update({names[0] + "x": t.pop(names[0])})), "missing|no place for"),
        (_shared(lambda t, names: t.update({names[0].replace("_A", "_C"): t[names[0]]})), "no place for"),
        (_shared(lambda t, names: [t.pop(n) for n in list(t) if "switch.weight" in n]), "missing tensors"),
        (_shared(lambda t, names: [t.pop(n) for n in list(t) if "switch.bias" in n]), "missing tensors"),
        (_shared(lambda t, names: [t.pop(n) for n in list(t) if "experts.3." in n]), "missing tensors"),
        (_said(num_share_experts=_SHARED + 1), "wrong shape"),
        (_said(num_share_experts=_SHARED - 1), "wrong shape"),
        (_said(num_share_experts=0), "share_expert is true, but num_share_experts is 0"),
        (_said(num_share_experts=None), "share_expert is true, but num_share_experts is None"),
        (_said(num_share_experts="2"), "share_expert is true, but num_share_experts is '2'"),
        (_said(share_expert=False), "no place for"),
        (_said(share_expert="yes"), "share_expert is 'yes'"),
        (_said(num_experts=5), "missing tensors|wrong shape"),
        (_said(num_experts_per_token=9), "num_experts_per_token is 9"),
    ],
)
def test_damaged_checkpoints_of_medcare_are_refused(
    tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    source = write_medcare(tmp_path)
    change(source.path)
    refused(source, message)


def test_conversion_is_bit_for_bit(tmp_path: Path) -> None:
    check_conversion(write_medcare(tmp_path / "source"), tmp_path / "converted")


def test_forms_agree(tmp_path: Path) -> None:
    model = load_model(*write_medcare(tmp_path), dtype="float64")
    ids = torch.randint(0, 40, (2, 11))
    with torch.no_grad():
        stacked = model(ids).logits
        set_impl(model, "loop")
        torch.testing.assert_close(model(ids).logits, stacked)
