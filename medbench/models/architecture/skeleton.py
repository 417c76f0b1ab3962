"""The empty model that a configuration describes: its tensors' shapes, and where its linear layers are."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import nn

from medbench.common.choices import MLP_PROJECTIONS, PROJECTIONS, Projection
from medbench.common.suggest import nearest
from medbench.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PretrainedConfig, PreTrainedModel


_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")

# No dimension of a language model comes near this; a damaged configuration must not exhaust the memory.
_MAX_DIMENSION = 2**22
_MAX_LAYERS = 2**12


class LinearPlace(NamedTuple):
    """A linear layer of a model that may carry experts.

    Attributes:
        name: Qualified name, such as ``model.layers.0.mlp.gate_proj``.
        parent: The MLP or attention that it belongs to.
        linear: The layer; weight [out, in].
        layer: Index of the decoder layer.
        projection: Which of the layer's linears it is.
    """

    name: str
    parent: nn.Module
    linear: nn.Linear
    layer: int
    projection: Projection


class Skeleton(NamedTuple):
    """A model whose parameters have shapes but no storage.

    Attributes:
        model: The transformers causal language model, parameters on the meta device.
        shapes: Shape of every parameter, those included that are tied to another.
        tied: Parameter that a checkpoint may leave out -> the parameter it equals.
        mlp: The MLP projections by qualified name; empty where the architecture has none of that kind.
        converts: Whether only transformers knows how tensors in files become parameters: it renames or fuses
            some, fills buffers from the files, or keeps some in float32.
    """

    model: PreTrainedModel
    shapes: dict[str, tuple[int, ...]]
    tied: dict[str, str]
    mlp: dict[str, LinearPlace]
    converts: bool


def build_skeleton(config: Mapping[str, Any], dtype: torch.dtype, *, where: str) -> Skeleton:
    """Build the transformers model of a configuration without allocating its parameters.

    Buffers (rotary frequencies) are real, since no checkpoint contains them.

    Args:
        config: Contents of a ``config.json``.
        dtype: Element type that the parameters will have.
        where: The file, for messages.

    Raises:
        ModelError: transformers does not know the architecture, or refuses the configuration.
    """
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    known = transformers_config(config, where=where)
    with _building(known.model_type, where), init_empty_weights(include_buffers=False):
        model = cast("Any", AutoModelForCausalLM).from_config(known, dtype=dtype)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters(remove_duplicate=False)}
    tied = dict(model.all_tied_weights_keys)
    try:
        mlp = {place.name: place for place in find_mlp_linears(model)}
    except ModelError:
        mlp = {}
    return Skeleton(model, shapes, tied, mlp, not mlp or _converts(model))


def transformers_config(config: Mapping[str, Any], *, where: str) -> PretrainedConfig:
    """Return the configuration as transformers' class for the architecture understands it.

    Args:
        config: Contents of a ``config.json``.
        where: The file, for messages.

    Raises:
        ModelError: transformers does not know the architecture, or refuses the configuration.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    _check_sizes(config, where)
    known = {
        key: _with_floats(value)
        for key, value in config.items()
        if key not in {"auto_map", "torch_dtype", "dtype"}
    }
    model_type = known.pop("model_type", None)
    if not isinstance(model_type, str):
        raise ModelError("no model_type in the configuration", where=where)
    if model_type not in CONFIG_MAPPING:
        raise _unknown(model_type, config, where)
    with _building(model_type, where):
        return AutoConfig.for_model(model_type, **known)


def _unknown(model_type: str, config: Mapping[str, Any], where: str) -> ModelError:
    """An error for an architecture that transformers does not know."""
    import transformers

    what = f"transformers {transformers.__version__} does not know the architecture {model_type!r}"
    if config.get("auto_map"):
        return ModelError(
            f"{what}: the checkpoint brings code of its own, which medbench never runs",
            where=where,
            hint="where it is published in a known architecture too (Llama, Qwen2 …), evaluate that one",
        )
    from transformers import CONFIG_MAPPING

    close = nearest(model_type, CONFIG_MAPPING.keys())
    hint = (
        f"did you mean {close}? Else a newer transformers may know it" if close else "a newer one may know it"
    )
    return ModelError(what, where=where, hint=hint)


def _with_floats(value: Any) -> Any:
    """A value of a configuration, with infinities as transformers writes them read as numbers."""
    if isinstance(value, Mapping):
        tag = value.get("__float__")
        if len(value) == 1 and tag in ("Infinity", "-Infinity", "NaN"):
            return float(tag)
        return {key: _with_floats(inner) for key, inner in value.items()}
    return [_with_floats(inner) for inner in value] if isinstance(value, list) else value


def _building(model_type: str, where: str) -> AbstractContextManager[None]:
    return foreign_failures(f"transformers cannot build a {model_type!r} from its configuration", where)


def _converts(model: PreTrainedModel) -> bool:
    from transformers.conversion_mapping import get_model_conversion_mapping

    in_float32 = model._keep_in_fp32_modules or model._keep_in_fp32_modules_strict
    buffers = dict(model.named_buffers()).keys() & model.state_dict().keys()
    return bool(in_float32 or buffers or get_model_conversion_mapping(model, add_legacy=False))


def find_mlp_linears(model: nn.Module) -> list[LinearPlace]:
    """Find the MLP projections of a decoder, by layer, then gate, up, down.

    Raises:
        ModelError: There are none, or more than one MLP in a layer.
    """
    found: list[LinearPlace] = []
    layers: set[int] = set()
    for name, module in model.named_modules():
        linears = [getattr(module, f"{projection}_proj", None) for projection in MLP_PROJECTIONS]
        match = _LAYER.search(f"{name}.")
        if match is None or not all(isinstance(linear, nn.Linear) for linear in linears):
            continue
        layer = int(match.group(1))
        if layer in layers:
            raise ModelError(
                f"layer {layer} has several MLPs with gate, up and down projections",
                where=type(model).__name__,
                hint="MoLoRA experts belong to a dense base model",
            )
        layers.add(layer)
        for projection, linear in zip(MLP_PROJECTIONS, linears, strict=True):
            assert isinstance(linear, nn.Linear)
            found.append(LinearPlace(f"{name}.{projection}_proj", module, linear, layer, projection))
    if not found:
        raise ModelError(
            "the architecture has no MLP with linear gate_proj, up_proj and down_proj",
            where=type(model).__name__,
            hint="MoLoRA experts need a base such as Qwen2, Llama, Qwen3 or Mistral",
        )
    return _in_order(found)


def find_linears(model: nn.Module, projections: Collection[Projection]) -> list[LinearPlace]:
    """Find the linear layers of a decoder that carry experts, by layer, in the order of ``PROJECTIONS``.

    Args:
        model: The model; its MLPs have ``gate_proj``, ``up_proj`` and ``down_proj``.
        projections: Which linears of every layer.

    Raises:
        ModelError: A layer lacks one of them.
    """
    mlp = find_mlp_linears(model)
    found = [place for place in mlp if place.projection in projections]
    wanted = [
        projection for projection in PROJECTIONS if projection in set(projections) - set(MLP_PROJECTIONS)
    ]
    layers = {place.layer for place in mlp}
    for name, module in model.named_modules() if wanted else ():
        match = _LAYER.search(f"{name}.")
        for projection in wanted if match else ():
            linear = getattr(module, f"{projection}_proj", None)
            if isinstance(linear, nn.Linear):
                layer = int(match.group(1)) if match else -1
                found.append(LinearPlace(f"{name}.{projection}_proj", module, linear, layer, projection))
    places = [(place.layer, place.projection) for place in found]
    if len(set(places)) != len(places) or set(places) != {(i, p) for i in layers for p in projections}:
        raise ModelError(
            f"not every layer has just one of each of {', '.join(f'{one}_proj' for one in projections)}",
            where=type(model).__name__,
            hint="such experts belong to a dense base model such as Llama, Qwen2 or Mistral",
        )
    return _in_order(found)


def _in_order(places: Iterable[LinearPlace]) -> list[LinearPlace]:
    """Sort places by layer, then as ``PROJECTIONS`` does."""
    return sorted(places, key=lambda place: (place.layer, PROJECTIONS.index(place.projection)))


@contextmanager
def foreign_failures(what: str, where: str, hint: str | None = None) -> Iterator[None]:
    """Turn what transformers and its validators raise on unusable input into a :class:`ModelError`."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # tokenizers raises Exception itself, validators what they like
        detail = str(error).strip().splitlines()
        raise ModelError(
            f"{what}: {detail[0] if detail else type(error).__name__}", where=where, hint=hint
        ) from error


def _check_sizes(config: Mapping[str, Any], where: str) -> None:
    for key, value in config.items():
        if not isinstance(value, int) or isinstance(value, bool):
            continue
        limit = _MAX_LAYERS if key == "num_hidden_layers" else _MAX_DIMENSION
        if key.endswith(("_size", "_dim", "_layers", "_heads")) and not 0 <= value <= limit:
            raise ModelError(f"{key} is {value}, expected at most {limit}", where=where)
