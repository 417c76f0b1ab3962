"""Mutated YAMLs of tasks, datasets and models: through reading, checking and showing."""

from __future__ import annotations

import contextlib
import functools
import io
import random
import shutil
import tempfile
from pathlib import Path

from benchmarks.faults.isolated import Outcome, try_all

__all__ = ["mutate", "mutated_definitions"]

_NASTY = (
    "null",
    "[]",
    "{}",
    "-1",
    "1e309",
    ".nan",
    "true",
    "''",
    '"{{ question"',
    '"{% for x in range(10**9) %}{% endfor %}"',
    "\"{{ ''.__class__.__mro__[1].__subclasses__() }}\"",
    "!function os.system",
    "!function medbench.data.load.__globals__",
    "!function no.such.module.at.all",
    "!function canary.touch",
    "!!python/object/apply:os.system ['touch CANARY']",
    "!!python/name:os.system",
    "!!binary AAAA",
    "!unknown x",
    "&a [*a]",
    "*nothing",
    "<<: {task: other}",
    "../../../../etc/passwd",
    "/dev/zero",
    "/dev/stdin",
    "2001-02-30",
    "'\\x1b[31m'",
    '"\\x1b[2J\\u202e"',
    "[" * 400,
    "- " * 400,
    "x" * 100_000,
    "{a: " * 300,
)
_BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)


def mutate(text: str, generator: random.Random) -> tuple[str, bytes]:
    """Change a YAML in one or a few places; returns what was done and the new content."""
    lines = text.splitlines()
    place = generator.randrange(len(lines))
    kind = generator.choice(
        (
            "value",
            "value",
            "value",
            "key",
            "delete",
            "double",
            "swap",
            "indent",
            "cut",
            "bytes",
            "bomb",
            "tab",
        )
    )
    head, colon, _ = lines[place].partition(":")
    if kind == "value":
        lines[place] = f"{head}{colon or ':'} {generator.choice(_NASTY)}"
    elif kind == "key":
        lines[place] = f"{generator.choice(_NASTY)}: {lines[place].partition(':')[2]}"
    elif kind == "delete":
        del lines[place]
    elif kind == "double":
        lines.insert(place, lines[place])
    elif kind == "swap":
        other = generator.randrange(len(lines))
        lines[place], lines[other] = lines[other], lines[place]
    elif kind == "indent":
        lines[place] = " " * generator.randrange(9) + lines[place].strip()
    elif kind == "tab":
        lines[place] = "\t" + lines[place]
    elif kind == "bomb":
        lines.insert(0, _BOMB)
    content = ("\n".join(lines) + "\n").encode()
    if kind == "cut":
        content = content[: generator.randrange(len(content))]
    elif kind == "bytes":
        damaged = bytearray(content)
        for _ in range(generator.choice((1, 3, 20))):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        content = bytes(damaged)
    return f"{kind} at line {place + 1}", content


def mutated_definitions(folder: Path, count: int, seed: int) -> list[Outcome]:
    """Mutate a definition, then do what a person would do with it, ``count`` times.

    One in five is a model; the others are tasks or their `sources.yaml`, checked with documents, prompts
    and scoring.
    """
    from medbench.checks import new_task

    sound = folder / "sound"
    new_task("mine", like="medqa", into=sound)
    new_task("mine_too", like="promptcblue_cmeee_v2", into=sound)
    return try_all(functools.partial(_attempt, str(sound), seed), count, folder / "definitions.log")


def _attempt(sound: str, seed: int, number: int) -> tuple[str, str, str]:
    from medbench.catalog.tasks import definitions_folder

    generator = random.Random(f"{seed}-{number}")
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        folder = Path(shutil.copytree(sound, Path(place) / "tasks"))
        canary = Path(place) / "CANARY"
        (folder / "canary.py").write_text(
            f"open({str(canary)!r}, 'w')\ndef touch(*_): ...\n", encoding="utf-8"
        )
        if number % 5 == 4:
            source = generator.choice(sorted(definitions_folder("models").glob("*.yaml")))
            target, command = folder.parent / source.name, ["models", "show"]
        else:
            source = generator.choice(sorted(folder.rglob("*.yaml")))
            target, command = source, ["tasks", "check"]
            # What a `!function canary.touch` would find beside the YAML, and run.
            code = f"open({str(canary)!r}, 'w')\ndef touch(*_): ...\n"
            (source.parent / "canary.py").write_text(code, encoding="utf-8")
        done, content = mutate(source.read_text(encoding="utf-8"), generator)
        target.write_bytes(content)
        named = str(target) if number % 5 == 4 else str(folder)
        status, output = _run([*command, named])
        fault = f"{source.name}: {done}"
        if canary.exists():
            return fault, "code ran", content.decode("utf-8", "replace")[-500:]
        if "\x1b" in output:
            return fault, "traceback", f"an escape sequence reached the terminal: {output[:500]}"
        if "Traceback" in output or status not in (0, 1, 2):
            return fault, "traceback", f"status {status}: {output[-1500:]}"
        if status and not output.strip():
            return fault, "traceback", f"status {status} without a word"
        return fault, "refused" if status else "harmless", output[:300] if status else ""


def _run(arguments: list[str]) -> tuple[int, str]:
    from medbench.cli.main import main

    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        status = main(arguments)
    return status, output.getvalue()
