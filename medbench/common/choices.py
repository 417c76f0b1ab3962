"""Choices that several packages know, each list written once.

A package that offers more or fewer choices derives its list from these.
"""

from __future__ import annotations

from typing import Literal, get_args

#: Number formats that models are evaluated in.
Dtype = Literal["float32", "bfloat16", "float16"]
#: How linear layers are stored in memory: as they are, or in 8 or 4 bits.
Quantization = Literal["none", "int8", "nf4"]
#: Layouts of checkpoints.
LayoutName = Literal[
    "adapter",
    "medcare-no-share",
    "medcare-share",
    "merged",
    "converted",
    "loramoe",
    "hydralora",
    "mola",
    "mixlora",
    "mixlora-0.2.3",
    "mixlora-moe-peft",
    "peft",
    "gguf",
    "plain",
]
#: Those among them that say which reading of a recognized layout is meant, where there are several.
READINGS: dict[LayoutName, tuple[LayoutName, ...]] = {
    "adapter": ("medcare-no-share", "medcare-share"),
    "mixlora": ("mixlora-0.2.3", "mixlora-moe-peft"),
}
#: How a checkpoint is to be read; ``auto`` recognizes the layout by its files.
Layout = Literal["auto", LayoutName]
#: Where documents come from; ``folder-or-samples`` takes the bundled samples for what a folder lacks.
DataSource = Literal["auto", "folder", "folder-or-samples", "hub", "samples"]
#: For which units router statistics are recorded.
RoutingLevel = Literal["off", "tasks", "documents", "tokens"]
#: Whether a chat template has the model reason; ``auto`` leaves it to the model.
Thinking = Literal["auto", "on", "off"]
#: Where a sweep disables experts: in all layers at once, in each layer, or in each linear layer.
Sweep = Literal["everywhere", "layers", "linears"]
#: The linears of a decoder layer that may carry experts, in the order in which they are shown and stored.
Projection = Literal["q", "k", "v", "o", "gate", "up", "down"]

DTYPES: tuple[Dtype, ...] = get_args(Dtype)
QUANTIZATIONS: tuple[Quantization, ...] = get_args(Quantization)
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
DATA_SOURCES: tuple[DataSource, ...] = get_args(DataSource)
ROUTING_LEVELS: tuple[RoutingLevel, ...] = get_args(RoutingLevel)
THINKING: tuple[Thinking, ...] = get_args(Thinking)
SWEEPS: tuple[Sweep, ...] = get_args(Sweep)
PROJECTIONS: tuple[Projection, ...] = get_args(Projection)
#: Those of an MLP.
MLP_PROJECTIONS: tuple[Projection, ...] = ("gate", "up", "down")
#: What routers serve: a linear layer, or a whole MLP.
ROUTED: tuple[str, ...] = (*PROJECTIONS, "mlp")
