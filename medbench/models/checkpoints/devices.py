"""Where to compute, and why it is not possible there."""

from __future__ import annotations

import torch

from medbench.errors import ModelError


def open_device(name: str) -> torch.device:
    """Find a device and try it.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:1`` …, or ``auto`` for a GPU if there is one.

    Raises:
        ModelError: Nothing can be computed there; says why.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise _refusal(name, "there is no such device") from error
    if device.type == "meta":
        raise _refusal(name, "it holds no values")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise _refusal(name, _why(device, error)) from error
    return device


def _refusal(name: str, why: str) -> ModelError:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    usable = ", ".join(["cpu", *(f"cuda:{number}" for number in range(count))])
    return ModelError(f"the device {name!r} cannot be used: {why}", hint=usable)


def _why(device: torch.device, error: Exception) -> str:
    """Why a device cannot be used, from what this installation of torch is and what it finds."""
    if isinstance(error, NotImplementedError):
        return f"torch {torch.__version__} cannot compute there"
    said = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    if device.type != "cuda":
        return said
    if torch.version.cuda is None and torch.version.hip is None:
        return f"torch {torch.__version__} is a build for CPUs only"
    count = torch.cuda.device_count()
    if not count:
        return f"torch finds no GPU ({said})"
    if (device.index or 0) >= count:
        return f"torch finds {count} GPU{'s' if count > 1 else ''}, counted from 0"
    return said
