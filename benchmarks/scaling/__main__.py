"""What many workers bring and what the driver can feed: ``python -m benchmarks.scaling``.

Parts: ``speed`` (two workers beside one), ``feed`` (workers without a model, as fast as the driver can),
``ray`` (the same through Ray), ``simulate`` (up to 512 workers by a clock that skips their time), ``kills``
(workers and the driver killed at random), ``machines`` (two raylets on loopback).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.scaling.stubs import make_requests

_PARTS = ("speed", "feed", "ray", "simulate", "kills", "machines")


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    console = Console(width=120)
    for part in options.parts or _PARTS:
        console.print(_TABLES[part](options))


def _speed(options: argparse.Namespace) -> Table:
    from benchmarks.scaling.speed import race

    table = Table(
        "requests", "one worker, s", "two workers, s", "ratio", "by processor time", "same answers",
        title="speed",
    )  # fmt: skip
    rounds = race(options.checkpoint, options.rounds, options.repeats)
    for found in rounds:
        table.add_row(
            str(found.requests),
            f"{found.one:.1f}",
            f"{found.two:.1f}",
            f"{found.ratio:.2f}",
            f"{found.processor_ratio:.2f}",
            str(found.same),
        )
    ratio, processor = (
        statistics.median(figures)
        for figures in zip(*((found.ratio, found.processor_ratio) for found in rounds), strict=True)
    )
    table.add_row("", "", "median", f"{ratio:.2f}", f"{processor:.2f}", "")
    return table


def _feed(options: argparse.Namespace) -> Table:
    from benchmarks.scaling.feeding import Feed, feed

    requests = make_requests(options.requests)
    table = Table(
        "workers", "requests", "batches", "keys and cutting, s", "requests/s", "grown, MiB", title="feed"
    )
    found: list[Feed] = [feed(requests, workers) for workers in (64, 512)]
    for fed in found:
        table.add_row(
            str(fed.workers),
            f"{fed.requests:,}",
            str(fed.batches),
            f"{fed.planning:.1f}",
            f"{fed.rate:,.0f}",
            f"{fed.grown:.0f}",
        )
    return table


def _ray(options: argparse.Namespace) -> Table:
    from benchmarks.scaling.feeding import feed_through_ray

    table = Table("actors", "requests", "batches", "requests/s", "driver's ms a batch", title="ray")
    for actors in (2, 8):
        fed = feed_through_ray(make_requests(options.requests // 10), actors)
        table.add_row(
            str(actors),
            f"{fed.requests:,}",
            str(fed.batches),
            f"{fed.rate:,.0f}",
            f"{1e3 * fed.driving / fed.batches:.2f}",
        )
    return table


def _simulate(options: argparse.Namespace) -> Table:
    from benchmarks.scaling.feeding import simulate

    requests = make_requests(options.requests // 2, generated=0.1)
    table = Table(
        "workers", "batches", "hours of one", "seconds", "speed-up", "workers busy", "driver busy",
        title=f"simulate: {options.pace:,.0f} tokens/s a worker, {options.delay * 1e3:.0f} ms a batch",
    )  # fmt: skip
    for workers in (1, 8, 64, 128, 256, 512):
        fed = simulate(requests, workers, pace=options.pace, delay=options.delay, spread=0.3)
        alone = fed.busy * fed.workers * fed.seconds
        table.add_row(
            str(workers),
            str(fed.batches),
            f"{alone / 3600:.2f}",
            f"{fed.seconds:,.0f}",
            f"{alone / fed.seconds:.1f}",
            f"{fed.busy:.0%}",
            f"{fed.driving / fed.seconds:.1%}",
        )
    return table


def _kills(options: argparse.Namespace) -> Table:
    from benchmarks.scaling.kills import torment

    with tempfile.TemporaryDirectory() as folder:
        found = torment(Path(folder), options.kills, options.seed)
    table = Table("what", "", title="kills")
    for name, value in found.items():
        table.add_row(name, str(value))
    return table


def _machines(options: argparse.Namespace) -> Table:
    from benchmarks.scaling.machines import share

    del options
    with tempfile.TemporaryDirectory() as folder:
        found = share(Path(folder))
    table = Table("what", "", title="machines")
    for name, value in found.items():
        table.add_row(name, str(value))
    return table


_TABLES = {
    "speed": _speed,
    "feed": _feed,
    "ray": _ray,
    "simulate": _simulate,
    "kills": _kills,
    "machines": _machines,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*_PARTS, []], help="default: all")
    parser.add_argument("--checkpoint", type=Path, help="for speed; the demo's by default")
    parser.add_argument("--rounds", type=int, default=3, help="of speed")
    parser.add_argument("--repeats", type=int, default=4, help="of every document, for speed")
    parser.add_argument("--requests", type=int, default=1_000_000, help="of feed; a tenth of them of ray")
    parser.add_argument("--pace", type=float, default=3_000.0, help="tokens/s of a simulated worker")
    parser.add_argument("--delay", type=float, default=0.02, help="seconds between two batches of a worker")
    parser.add_argument("--kills", type=int, default=12, help="of workers")
    parser.add_argument("--seed", type=int, default=1)
    return parser


if __name__ == "__main__":
    main()
