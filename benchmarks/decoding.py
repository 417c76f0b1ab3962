"""Ways to generate: ``python -m benchmarks.decoding``.

The engine's slots; transformers' own continuous batching (``generate_batch``, paged attention); and batches
of sixteen with a static cache, plain and compiled. Same weights, same prompts, mixed limits, greedy.
``generate_batch`` and the static cache take one limit for all: they get the prompts in groups of one limit. A
way that takes longer than ``--patience`` is broken off and left out of the rounds.
"""

from __future__ import annotations

import argparse
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transformers import CompileConfig, GenerationConfig

from benchmarks.engine import _rounds
from benchmarks.synthetic import E8_R16, Shape, build_model
from medbench.models import Engine

LIMITS = (8, 16, 32)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decoding", description=__doc__)
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--patience", type=int, default=180, help="seconds that one way may take")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    console = Console(width=110)
    model = build_model(Shape(512, 1376, 6, 8, options.vocabulary), E8_R16)
    generator = torch.Generator().manual_seed(0)
    prompts = [
        torch.randint(3, options.vocabulary, (20 + 37 * i % 100,), generator=generator).tolist()
        for i in range(options.prompts)
    ]
    limits = [LIMITS[i % len(LIMITS)] for i in range(options.prompts)]
    groups = {limit: [p for p, own in zip(prompts, limits, strict=True) if own == limit] for limit in LIMITS}
    engine = Engine(model, routing="off")
    systems: dict[str, Callable[[], int]] = {
        "slots": lambda: len(engine.generate(prompts, limits)),
        "static cache": lambda: _static(model, groups, compiled=False),
        "static cache, compiled": lambda: _static(model, groups, compiled=True),
        "generate_batch": lambda: _paged(model, groups),
    }
    for name in list(systems):  # compiling and warming up count for nobody
        started = time.perf_counter()
        try:
            answered = _within(options.patience, systems[name])
        except TimeoutError:
            console.print(f"{name}: no end after {options.patience} s, left out")
            del systems[name]
            continue
        except Exception as error:  # noqa: BLE001 - a way that this machine cannot go is a result as well
            console.print(f"{name}: {type(error).__name__}: {str(error).splitlines()[0]}, left out")
            del systems[name]
            continue
        console.print(
            f"{name}: {answered} prompts answered, first time {time.perf_counter() - started:.1f} s"
        )
    times, _ = _rounds(systems, options.rounds)
    console.print(_table(times, sum(limits)))


def _within(seconds: int, way: Callable[[], int]) -> int:
    """Run one way, but no longer.

    Raises:
        TimeoutError: It took longer.
    """

    def give_up(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        return way()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _table(times: dict[str, list[float]], tokens: int) -> Table:
    table = Table(title="ways to generate")
    for column in ("", "new tokens/s", "of the slots' time: min", "median", "max"):
        table.add_column(column, justify="left" if not column else "right")
    for name, spans in times.items():
        ratios = sorted(span / own for span, own in zip(spans, times["slots"], strict=True))
        middle = len(ratios) // 2
        pace = tokens / sorted(spans)[middle]
        table.add_row(
            name, f"{pace:.0f}", f"{ratios[0]:.2f}×", f"{ratios[middle]:.2f}×", f"{ratios[-1]:.2f}×"
        )
    return table


def _paged(model: Any, groups: dict[int, list[list[int]]]) -> int:
    done = 0
    for limit, prompts in groups.items():
        config: Any = GenerationConfig()  # type: ignore[no-untyped-call]
        config.update(max_new_tokens=limit, do_sample=False, eos_token_id=-1, pad_token_id=0)
        done += len(model.generate_batch(prompts, generation_config=config))
    return done


def _static(model: Any, groups: dict[int, list[list[int]]], *, compiled: bool) -> int:
    done = 0
    way: dict[str, Any] = {"disable_compile": True}
    if compiled:
        config = CompileConfig(mode="default", dynamic=True)
        config._compile_all_devices = True  # type: ignore[assignment] # without it, generate compiles on GPUs only
        way = {"compile_config": config}
    batches = [
        (limit, prompts[start : start + 16])
        for limit, prompts in groups.items()
        for start in range(0, len(prompts), 16)
    ]
    for limit, part in batches:
        longest = max(map(len, part))
        ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in part])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in part])
        with torch.inference_mode():
            done += len(
                model.generate(
                    ids,
                    attention_mask=mask,
                    max_new_tokens=limit,
                    do_sample=False,
                    pad_token_id=0,
                    cache_implementation="static",
                    **way,
                )
            )
    return done


if __name__ == "__main__":
    main()
