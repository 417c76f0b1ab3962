"""What the stacked form of each mixture saves over the published loop: ``python -m benchmarks.formats``.

Prefill of many tokens through all layers of a small model, per format: the whole model in both forms, and
what the experts add to the base alone. The forms take turns within a round, on the same weights and tokens;
processor time of all threads is counted, so that a busy machine disturbs little.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks.synthetic import SHAPES, build_model
from medbench.common.choices import PROJECTIONS
from medbench.models import MoLoRAConfig, set_impl

_SPARSE = MoLoRAConfig(8, 2, 16, 32)
_DENSE = MoLoRAConfig(8, 8, 16, 32, router_bias=False)
_BLOCK = MoLoRAConfig(8, 2, 16, 32, router_bias=False, block=True)
FORMATS = {
    "MING-MOE": _SPARSE,
    "MedCare, 2 shared experts": MoLoRAConfig(8, 2, 16, 32, shared_experts=2),
    "MoLA, all linears": MoLoRAConfig(8, 2, 16, 32, router_bias=False, projections=PROJECTIONS),
    "MixLoRA": _BLOCK,
    "MixLoRA, top-p 0.75": MoLoRAConfig(8, 8, 16, 32, router_bias=False, block=True, top_p=0.75),
    "LoRAMoE (dense)": _DENSE,
    "HydraLoRA (dense)": MoLoRAConfig(8, 8, 16, 32, router_bias=False, shared_a=True),
}


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    shape = SHAPES["small"]
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, shape.vocabulary, (1, options.tokens), generator=generator)
    base = build_model(shape, None).base_model
    table = Table(title=f"{options.tokens} tokens, {shape}, medians of {options.rounds} rounds")
    for column in ("", "loop over stacked", "base over loop", "the experts alone"):
        table.add_column(column, justify="left" if not column else "right")
    for name, config in FORMATS.items():
        model = build_model(shape, config)
        spent: dict[str, list[float]] = {"base": [], "stacked": [], "loop": []}
        for _ in range(options.rounds + 1):
            for form, times in spent.items():
                if form != "base":
                    set_impl(model, "loop" if form == "loop" else "stacked")
                times.append(_spent(base if form == "base" else model.base_model, ids))
        rounds = [dict(zip(spent, values, strict=True)) for values in zip(*spent.values(), strict=True)][1:]
        saved = median(one["loop"] / one["stacked"] for one in rounds)
        bound = median(one["base"] / one["loop"] for one in rounds)
        alone = median(
            (one["loop"] - one["base"]) / max(1e-9, one["stacked"] - one["base"]) for one in rounds
        )
        table.add_row(name, f"{saved:.2f}×", f"{bound:.0%}", f"{alone:.1f}×")
    Console(width=110).print(table)


@torch.inference_mode()
def _spent(body: nn.Module, ids: torch.Tensor) -> float:
    started = time.process_time()
    body(input_ids=ids, use_cache=False)
    return time.process_time() - started


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    return parser


if __name__ == "__main__":
    main()
