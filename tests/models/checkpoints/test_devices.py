"""A device that cannot be used is refused with the reason, on whatever machine."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medbench.errors import ModelError
from medbench.models.checkpoints.devices import open_device


def _machine(
    monkeypatch: pytest.MonkeyPatch, *, built: bool, gpus: int, error: Exception | None = None
) -> None:
    """Make torch find a machine of this kind."""
    empty = torch.empty

    def tried(*size: Any, device: Any = None, **options: Any) -> Any:
        place = torch.device(device or "cpu")
        if place.type == "cuda" and (place.index or 0) >= gpus:
            raise error or AssertionError("Torch not compiled with CUDA enabled")
        return empty(*size, **options)

    monkeypatch.setattr(torch, "empty", tried)
    monkeypatch.setattr(torch.version, "cuda", "12.8" if built else None)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)


NO_DRIVER = RuntimeError("Found no NVIDIA driver on your system\nmore lines")
NO_GPU = RuntimeError("No CUDA GPUs are available")


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:3"])
@pytest.mark.parametrize(
    ("built", "gpus", "error", "why"),
    [
        (False, 0, None, f"torch {torch.__version__} is a build for CPUs only"),
        (
            True,
            0,
            NO_DRIVER,
            "torch finds no GPU (Found no NVIDIA driver on your system)",
        ),
        (True, 0, NO_GPU, "torch finds no GPU (No CUDA GPUs are available)"),
    ],
)
def test_without_a_gpu(
    name: str, built: bool, gpus: int, error: Exception | None, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _machine(monkeypatch, built=built, gpus=gpus, error=error)
    with pytest.raises(ModelError) as caught:
        open_device(name)
    assert caught.value.what == f"the device {name!r} cannot be used: {why}"
    assert caught.value.hint == "cpu"
    assert open_device("auto") == torch.device("cpu")


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, built=True, gpus=2, error=RuntimeError("CUDA error: invalid device ordinal"))
    assert open_device("cuda:1") == torch.device("cuda:1")
    assert open_device("auto") == torch.device("cuda")
    with pytest.raises(ModelError, match="torch finds 2 GPUs, counted from 0") as caught:
        open_device("cuda:2")
    assert caught.value.hint == "cpu, cuda:0, cuda:1"


def test_a_gpu_that_is_there_and_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, built=True, gpus=1)

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be …")

    monkeypatch.setattr(torch, "empty", broken)
    with pytest.raises(ModelError, match="cannot be used") as caught:
        open_device("cuda")
    assert caught.value.what.endswith("cannot be used: CUDA error: out of memory")


@pytest.mark.parametrize("name", ["gpu", "tpu", "cuda1", "nonsense", "cuda:x", ""])
def test_what_is_no_device(name: str) -> None:
    with pytest.raises(ModelError, match="there is no such device"):
        open_device(name)


def test_a_device_without_values() -> None:
    with pytest.raises(ModelError, match="holds no values"):
        open_device("meta")


def test_a_device_of_another_make() -> None:
    with pytest.raises(ModelError, match=f"torch {torch.__version__.split('+')[0]}.* cannot compute there"):
        open_device("hip")


def test_a_cpu() -> None:
    assert open_device("cpu") == torch.device("cpu")
