"""``python -m benchmarks.faults``: try all kinds of faults and print what came of them."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from benchmarks.faults.checkpoints import damaged_checkpoints
from benchmarks.faults.definitions import mutated_definitions
from benchmarks.faults.isolated import Outcome
from benchmarks.faults.kills import Kill, prepare
from benchmarks.faults.runs import TASKS
from benchmarks.faults.stores import DamagedStore, damaged_stores

_HEAD = "| faults | tried | survived | answers lost | requests recomputed | differences | tracebacks, hangs |"
_T = TypeVar("_T")


def main() -> int:
    """Try the faults; exit status 1 if one did harm."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=60, help="runs killed with SIGKILL and resumed")
    parser.add_argument("--stores", type=int, default=40, help="damaged response stores")
    parser.add_argument("--checkpoints", type=int, default=240, help="damaged checkpoints")
    parser.add_argument("--definitions", type=int, default=600, help="mutated YAMLs")
    parser.add_argument("--limit", type=int, default=12, help="documents per task of a run")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows: list[str] = []
    harm: list[Kill | DamagedStore | Outcome] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if options.kills or options.stores:
            subject = prepare(folder / "runs", limit=options.limit)
            print(f"a run of {len(TASKS)} tasks takes {subject.seconds:.1f} s", flush=True)
            if options.kills:
                kills = list(_told(subject.kills(options.kills, options.seed), options.kills, "kills"))
                rows.append(_kill_row(kills))
                harm += [kill for kill in kills if not kill.survived]
            if options.stores:
                told = _told(
                    damaged_stores(subject, options.stores, options.seed), options.stores, "damaged stores"
                )
                stores = list(told)
                rows.append(_store_row(stores))
                harm += [store for store in stores if not store.survived]
        for name, faults, count in (
            ("damaged checkpoints", damaged_checkpoints, options.checkpoints),
            ("mutated YAMLs", mutated_definitions, options.definitions),
        ):
            if count:
                (folder / name).mkdir()
                outcomes = faults(folder / name, count, options.seed)
                rows.append(_outcome_row(name, outcomes))
                harm += [outcome for outcome in outcomes if not outcome.survived]
    print("\n".join([_HEAD, "|---|---|---|---|---|---|---|", *rows]))
    for fault in harm:
        print(fault)
    return 1 if harm else 0


def _told(trials: Iterable[_T], count: int, what: str) -> Iterator[_T]:
    for number, trial in enumerate(trials, 1):
        print(f"{what}: {number} of {count}", end="\r", file=sys.stderr, flush=True)
        yield trial
    print(file=sys.stderr)


def _kill_row(kills: list[Kill]) -> str:
    kept, asked = sum(kill.kept for kill in kills), sum(kill.asked for kill in kills)
    midway = sum(kill.kept > 0 and kill.asked > 0 for kill in kills)
    largest = max(kill.difference.largest for kill in kills)
    return (
        f"| runs killed by SIGKILL ({midway} between their first and last answer; "
        f"{kept} answers kept, {asked} asked for after it) "
        f"| {len(kills)} | {sum(kill.survived for kill in kills)} | {sum(kill.lost for kill in kills)} "
        f"| {sum(kill.recomputed for kill in kills)} "
        f"| {sum(len(kill.difference.cells) for kill in kills)} (rounding at most {largest:.0e}) "
        f"| {sum(kill.traceback for kill in kills)} |"
    )


def _store_row(stores: list[DamagedStore]) -> str:
    aside = sum(store.set_aside for store in stores)
    refused = sum(store.difference is None for store in stores)
    cells = sum(len(store.difference.cells) for store in stores if store.difference is not None)
    return (
        f"| damaged stores ({aside} set aside and said so, {refused} refused, "
        f"{len(stores) - aside - refused} hit nothing that is used) | {len(stores)} "
        f"| {sum(store.survived for store in stores)} | – | – | {cells} "
        f"| {sum(store.traceback for store in stores)} |"
    )


def _outcome_row(name: str, outcomes: list[Outcome]) -> str:
    kinds = {kind: sum(outcome.kind == kind for outcome in outcomes) for kind in ("refused", "harmless")}
    other = sum(outcome.kind == "unnoticed" for outcome in outcomes)
    detail = f"{kinds['refused']} refused, {kinds['harmless']} harmless"
    if other:
        detail += f", {other} another model by its fingerprint"
    survived = sum(outcome.survived for outcome in outcomes)
    return f"| {name} ({detail}) | {len(outcomes)} | {survived} | – | – | – | {len(outcomes) - survived} |"


if __name__ == "__main__":
    sys.exit(main())
