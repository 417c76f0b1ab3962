"""The tensors of an ordinary transformers folder, or why they are none that can be computed with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medbench.errors import ModelError
from medbench.models.checkpoints.tensors import TensorFiles, open_tensors, stem_files

# Parts of a weight that GPTQ, AWQ and their relatives store instead of the weight.
_PACKED = (".qweight", ".qzeros", ".weight_packed", ".weight_scale_inv")


def open_model(folder: Path, config: Mapping[str, Any], *, verify: bool = True) -> TensorFiles:
    """Open the files of weights that transformers would load.

    Args:
        folder: The folder.
        config: Contents of its ``config.json``.
        verify: As of :func:`~medbench.models.checkpoints.tensors.open_tensors`.

    Raises:
        ModelError: There are none, a file is damaged, or the weights are quantized.
    """
    where = str(folder / "config.json")
    if (named := config.get("transformers_weights")) is not None:
        raise ModelError(
            f"transformers_weights names the file {named!r} for the weights",
            where=where,
            hint="rename that file to model.safetensors and remove the key",
        )
    quantized = config.get("quantization_config")
    if quantized:
        method = quantized.get("quant_method") if isinstance(quantized, Mapping) else None
        raise _quantized(method or "an unnamed method", where)
    opened = open_tensors(model_files(folder), verify=verify)
    if packed := next((name for name in opened.tensors if name.endswith(_PACKED)), None):
        raise _quantized(f"a method that stores {packed}", opened.where)
    return opened


def model_files(folder: Path) -> tuple[Path, ...]:
    """Return the files of weights that transformers would load.

    Raises:
        ModelError: There are none, or an index is damaged.
    """
    if files := stem_files(folder, "model"):
        return files
    variants = sorted(
        path.name
        for pattern in ("model.*.safetensors", "pytorch_model.*.bin")
        for path in folder.glob(pattern)
    )
    raise ModelError(
        "no model.safetensors or pytorch_model.bin",
        where=str(folder),
        hint=f"there are only variants, such as {variants[0]}: rename the one you mean" if variants else None,
    )


def _quantized(method: str, where: str) -> ModelError:
    return ModelError(
        f"the weights are quantized with {method}, which medbench does not load",
        where=where,
        hint="give the checkpoint that was quantized; --quantization holds its weights in 8 or 4 bits",
    )
