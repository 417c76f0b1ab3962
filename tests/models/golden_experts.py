"""Golden mixtures of LoRA experts, made by their original implementations, and what is asked of each."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from medbench.models import Engine, convert, load_model
from medbench.models.architecture.mixtures import mixtures_of
from tests.models.made_checkpoints import Source, read_json

# Logits closer than this are ties as far as float32 can tell.
NEAR_TIE = 1e-4
BUDGETS = (16, 96, 4096)


class Golden(NamedTuple):
    """A golden case.

    Attributes:
        source: The adapter and its base.
        told: Generations, log-likelihoods and notes.
        tensors: What the original computed for one text.
    """

    source: Source
    told: dict[str, Any]
    tensors: dict[str, Tensor]


def golden_case(shared: Path, case: str) -> Golden:
    """Open a golden case; the test is skipped where it is not to be had."""
    folder = shared / "golden" / "experts" / case
    if not folder.is_dir():
        pytest.skip(f"needs the golden case {folder}")
    told = read_json(folder / "expected.json")
    source = Source(folder / told["adapter"], (folder / told["base"]).resolve())
    return Golden(source, told, load_file(folder / "expected.safetensors"))


def check_logits(model: Any, tensors: dict[str, Tensor]) -> None:
    """Demand the original's logits."""
    with torch.no_grad():
        logits = model(tensors["prefill.input_ids"].reshape(1, -1)).logits[0]
    torch.testing.assert_close(logits, tensors["prefill.logits"].reshape(logits.shape), rtol=0, atol=1e-4)


def check_choice(logits: Tensor, choice: Tensor) -> None:
    """Demand that k experts were chosen by these logits, wherever these are clear about it."""
    k = choice.shape[1]
    if k == logits.shape[1]:
        return
    top = logits.topk(k + 1, dim=1)
    clear = top.values[:, k - 1] - top.values[:, k] > NEAR_TIE
    assert clear.float().mean() > 0.9
    chosen, theirs = choice.sort(dim=1).values, top.indices[:, :k].sort(dim=1).values
    assert torch.equal(chosen[clear], theirs[clear])


def check_generations(model: Any, told: dict[str, Any]) -> None:
    """Demand the original's tokens, at three budgets and in another order."""
    generations = told["generations"]
    for place, budget in enumerate(BUDGETS):
        asked = random.Random(place).sample(generations, len(generations))
        engine = Engine(model, max_batch_tokens=budget)
        found = engine.generate([one["prompt_ids"] for one in asked], len(asked[0]["new_ids"]))
        assert [list(one.token_ids) for one in found] == [one["new_ids"] for one in asked]


def check_loglikelihoods(model: Any, told: dict[str, Any]) -> None:
    """Demand the original's log-likelihoods."""
    asked = told["loglikelihoods"]
    found = Engine(model).score([(one["context_ids"], one["continuation_ids"]) for one in asked])
    for score, one in zip(found, asked, strict=True):
        assert score.logprob == pytest.approx(one["logprob"], abs=1e-3)


def check_conversion(source: Source, destination: Path, layout: str = "auto") -> None:
    """Demand that a converted checkpoint loads to the bits of its source."""
    written = convert(source.path, destination, source.base, layout=layout)
    first, second = load_model(*source, layout=layout), load_model(written)
    one, other = dict(first.named_parameters()), dict(second.named_parameters())
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    configs = [[module.config for module in mixtures_of(model)] for model in (first, second)]
    assert configs[0] == configs[1] != []
