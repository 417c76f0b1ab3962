"""Three ways to generate: ``python -m benchmarks.decoding``.

The engine's slots; transformers' own continuous batching (``generate_batch``, paged attention); and batches
of sixteen with a static cache. Same weights, same prompts, mixed limits, greedy. ``generate_batch`` and the
static cache take one limit for all, so that prompts are handed to them in groups of one limit.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from rich.console import Console
from transformers import GenerationConfig

from benchmarks.engine import _rounds
from benchmarks.synthetic import E8_R16, Shape, build_model
from medbench.models import Engine

LIMITS = (8, 16, 32)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decoding", description=__doc__)
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--vocabulary", type=int, default=151_936)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    model = build_model(Shape(512, 1376, 6, 8, options.vocabulary), E8_R16)
    generator = torch.Generator().manual_seed(0)
    prompts = [
        torch.randint(3, options.vocabulary, (20 + 37 * i % 100,), generator=generator).tolist()
        for i in range(options.prompts)
    ]
    limits = [LIMITS[i % len(LIMITS)] for i in range(options.prompts)]
    groups = {limit: [p for p, own in zip(prompts, limits, strict=True) if own == limit] for limit in LIMITS}
    engine = Engine(model, routing="off")
    systems = {
        "slots": lambda: engine.generate(prompts, limits),
        "generate_batch": lambda: _paged(model, groups),
        "static cache": lambda: _static(model, groups),
    }
    times, done = _rounds(systems, options.rounds)
    print({name: count if isinstance(count, int) else len(count) for name, count in done.items()}, "answered")
    for name, spans in times.items():
        ratios = sorted(span / own for span, own in zip(spans, times["slots"], strict=True))
        Console().print(
            f"{name}: {min(spans):.2f} to {max(spans):.2f} s; of the slots' time "
            f"{ratios[0]:.2f}, {ratios[len(ratios) // 2]:.2f}, {ratios[-1]:.2f} (min, median, max)"
        )


def _paged(model: Any, groups: dict[int, list[list[int]]]) -> int:
    done = 0
    for limit, prompts in groups.items():
        config: Any = GenerationConfig()  # type: ignore[no-untyped-call]
        config.update(max_new_tokens=limit, do_sample=False, eos_token_id=-1, pad_token_id=0)
        done += len(model.generate_batch(prompts, generation_config=config))
    return done


def _static(model: Any, groups: dict[int, list[list[int]]]) -> int:
    done = 0
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
                    disable_compile=True,
                )
            )
    return done


if __name__ == "__main__":
    main()
