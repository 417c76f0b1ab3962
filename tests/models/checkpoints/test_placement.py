"""Weights that stay in their files, and models laid over several devices, as far as a CPU can tell."""

from __future__ import annotations

import re
from pathlib import Path

import accelerate.utils
import pytest
import torch

from medbench.errors import ModelError
from medbench.models import Engine, load_model
from medbench.models.architecture.skeleton import build_skeleton
from medbench.models.checkpoints.placement import device_map, home_of, install_hooks
from medbench.models.engines.native.packing import Pack, Segment
from tests.models.made_checkpoints import BASES, write_merged
from tests.models.made_engines import tiny_model

REQUESTS = [([1, 2, 3, 4], [5]), ([1, 2, 3, 4], [6, 7]), ([9, 8], [7, 6, 5])]


def mapped_from(path: Path, tensor: torch.Tensor) -> bool:
    """Whether a tensor's memory is a mapping of a file."""
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        bounds = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)
        assert bounds
        if int(bounds[1], 16) <= tensor.data_ptr() < int(bounds[2], 16):
            return line.endswith(str(path))
    return False


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux")
def test_mapped_weights_are_the_file_and_compute_the_same(tmp_path: Path) -> None:
    folder = write_merged(tmp_path / "merged", BASES["qwen2"])
    own, mapped = (load_model(folder, mapped=mapped) for mapped in (False, True))
    name = "model.layers.0.self_attn.q_proj.weight"
    weights = [model.get_parameter(name) for model in (own, mapped)]
    assert [mapped_from(folder / "model.safetensors", weight) for weight in weights] == [False, True]
    scores = [[score.logprob for score in Engine(model).score(REQUESTS)] for model in (own, mapped)]
    assert scores[0] == pytest.approx(
        scores[1], abs=1e-5
    )  # where weights lie in memory decides about the last bit


def test_layers_go_whole_to_devices_and_every_parameter_has_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_skeleton(BASES["qwen2"] | {"num_hidden_layers": 6}, torch.float32, where="test").model
    size = sum(parameter.numel() * 4 for parameter in model.parameters())
    monkeypatch.setattr(accelerate.utils, "get_balanced_memory", lambda *_, **__: {0: 0.7 * size, 1: size})
    places = device_map(model, torch.float32, "test")
    homes = {name: home_of(name, places) for name, _ in model.named_parameters()}
    assert {str(home) for home in homes.values()} == {"cuda:0", "cuda:1"}
    layers = [{home for name, home in homes.items() if f"layers.{layer}." in name} for layer in range(6)]
    assert all(len(devices) == 1 for devices in layers)
    assert layers[0] != layers[5]
    monkeypatch.setattr(accelerate.utils, "get_balanced_memory", lambda *_, **__: {0: 100, "cpu": size})
    with pytest.raises(ModelError, match="does not fit"):
        device_map(model, torch.float32, "test")


def test_hooks_between_layers_change_nothing() -> None:
    plain, hooked = tiny_model(), tiny_model()
    parts = (
        "model.embed_tokens",
        "model.layers.0",
        "model.layers.1",
        "model.norm",
        "model.rotary_emb",
        "lm_head",
    )
    install_hooks(hooked, dict.fromkeys(parts, "cpu"))
    engines = [Engine(model) for model in (plain, hooked)]
    scores = [engine.score(REQUESTS) for engine in engines]
    # The hooked output layer multiplies by its weight as it is, the plain one by a packed copy.
    assert [score.logprob for score in scores[0]] == pytest.approx([score.logprob for score in scores[1]])
    assert [score.is_greedy for score in scores[0]] == [score.is_greedy for score in scores[1]]
    texts = [engine.generate([[1, 2, 3], [4]], max_new_tokens=5) for engine in engines]
    assert texts[0] == texts[1]
    first, second = (engine.routing() for engine in engines)
    assert first.count.tolist() == second.count.tolist()


def test_a_pack_follows_to_another_device_once() -> None:
    segment = Segment(0, 2, torch.arange(2), mask=torch.zeros(2, 2))
    pack = Pack([segment])
    assert pack.on(torch.device("cpu")) is pack
    there = pack.on(torch.device("meta"))
    assert there is pack.on(torch.device("meta"))
    (moved,) = there.segments
    assert moved.mask is not None
    assert {moved.mask.device.type, moved.positions.device.type} == {"meta"}
