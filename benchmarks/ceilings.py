"""How near the engine comes to what the machine can do: ``python -m benchmarks.ceilings``.

Two ceilings are measured first: the largest rate of multiplications that one matrix product reaches, and the
rate at which memory is read. Prefill is held against the first, decoding against whichever of the two bounds
it (reading all weights and the keys and values of every row once a step), for each form of the MoLoRA
arithmetic. ``--device cuda --dtype bfloat16 --shape 1.8B --rows 256`` for a GPU.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast, get_args

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.synthetic import E8_R16, SHAPES, Shape, build_model
from medbench.errors import ModelError
from medbench.models import Engine, set_impl
from medbench.models.architecture.mixture import Impl

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PROMPT = 512


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    console = Console(width=110)
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    shape = SHAPES[options.shape]
    console.print(f"{options.device}, {options.dtype}, {options.shape}: {shape}, E8 r16 top-2")
    rate, bandwidth = _matrix_rate(device, dtype), _bandwidth(device)
    console.print(f"ceilings: {rate / 1e12:.2f} TFLOP/s in one product, {bandwidth / 1e9:.1f} GB/s read")
    model = build_model(shape, E8_R16)
    torch.nn.Module.to(model, device, dtype)
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(3, shape.vocabulary, (options.rows, _PROMPT), generator=generator).tolist()
    table = Table(title=f"medians of {options.rounds} rounds")
    for column in ("", "tokens/s", "ceiling", "share"):
        table.add_column(column, justify="left" if not column else "right")
    for impl in get_args(Impl):
        try:
            set_impl(model, cast("Impl", impl))
        except ModelError as error:
            console.print(f"{impl}: {error.what}")
            continue
        settings: dict[str, Any] = {"routing": "off", "max_batch_tokens": options.rows * _PROMPT}
        engine = Engine(model, **settings)
        prefill = _median(options.rounds, partial(engine.score, [(prompt, [1]) for prompt in prompts]))
        tokens, steps = options.rows * _PROMPT, options.rows * options.steps
        _row(table, f"{impl}: prefill", tokens / prefill, rate / _flops(model, shape, _PROMPT // 2))
        held = _PROMPT + options.steps // 2
        step = max(
            _bytes(model, shape, options.rows * held) / bandwidth,
            options.rows * (_flops(model, shape, held) + 2 * shape.hidden * shape.vocabulary) / rate,
        )
        for graphs in (False, True) if device.type == "cuda" else (False,):
            engine = Engine(model, decode_graphs=graphs, **settings)
            # Decoding alone is what further tokens take on top of the first.
            first = _median(options.rounds, partial(engine.generate, prompts, 1))
            all_steps = _median(options.rounds, partial(engine.generate, prompts, 1 + options.steps))
            name = f"{impl}: decoding {options.rows} rows{', graphs' if graphs else ''}"
            _row(table, name, steps / max(1e-9, all_steps - first), options.rows / step)
    console.print(table)


def _row(table: Table, name: str, pace: float, ceiling: float) -> None:
    table.add_row(name, f"{pace:,.0f}", f"{ceiling:,.0f}", f"{pace / ceiling:.0%}")


def _body(model: PreTrainedModel) -> int:
    """Weights that every token passes: all but the embeddings and the output layer."""
    outside = {model.get_input_embeddings().weight, model.get_submodule("lm_head").weight}
    return sum(p.numel() for p in model.parameters() if not any(p is other for other in outside))


def _flops(model: PreTrainedModel, shape: Shape, context: int) -> float:
    """Multiplications and additions of one token that sees ``context`` tokens, without the output layer."""
    return 2 * _body(model) + 4 * shape.layers * shape.hidden * context


def _bytes(model: PreTrainedModel, shape: Shape, held: int) -> float:
    """Bytes that a step of decoding must read: the weights, and the keys and values of ``held`` tokens."""
    size = next(model.parameters()).element_size()
    return size * (_body(model) + shape.hidden * shape.vocabulary + 2 * shape.layers * shape.hidden * held)


def _matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    side = 8192 if device.type == "cuda" else 2048
    a = torch.randn(side, side).to(device, dtype)
    return 2 * side**3 / _best(lambda: a @ a, device)


def _bandwidth(device: torch.device) -> float:
    gib = 4 if device.type == "cuda" else 1
    block = torch.zeros(gib * 2**28, dtype=torch.float32, device=device)
    return block.nbytes / _best(block.sum, device)


def _best(work: Callable[[], Any], device: torch.device, times: int = 10) -> float:
    def run() -> float:
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    return min(run() for _ in range(times))


def _median(rounds: int, work: Callable[[], Any]) -> float:
    spans = []
    for _ in range(rounds + 1):  # the first warms up
        started = time.perf_counter()
        work()
        spans.append(time.perf_counter() - started)
    return sorted(spans[1:])[rounds // 2]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ceilings", description=__doc__)
    parser.add_argument("--shape", choices=list(SHAPES), default="small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    return parser


if __name__ == "__main__":
    main()
