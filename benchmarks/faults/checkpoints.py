"""Truncated and bit-flipped checkpoints in every layout."""

from __future__ import annotations

import contextlib
import functools
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.faults.damage import damage
from benchmarks.faults.isolated import Outcome, try_all
from tests.models.made_checkpoints import BASES, write_adapter, write_merged
from tests.models.tokenizers import write_tokenizer

__all__ = ["damaged_checkpoints"]


def damaged_checkpoints(folder: Path, count: int, seed: int) -> list[Outcome]:
    """Damage one file of a checkpoint, then check it, load it and load its tokenizer, ``count`` times.

    The layouts take turns: merged, adapter with its base, converted.
    """
    from medbench.models import convert

    sound = folder / "sound"
    write_merged(sound / "merged", BASES["qwen2"])
    write_adapter(sound / "adapter", BASES["qwen2"])
    convert(sound / "merged", sound / "converted")
    for place in ("merged", "adapter/base", "converted"):
        write_tokenizer(sound / place)
    return try_all(functools.partial(_attempt, str(sound), seed), count, folder / "checkpoints.log")


def _attempt(sound: str, seed: int, number: int) -> tuple[str, str, str]:
    from medbench.errors import ModelError
    from medbench.models import check

    generator = random.Random(f"{seed}-{number}")
    layout = ("merged", "adapter", "converted")[number % 3]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(shutil.copytree(Path(sound) / layout, Path(place) / layout))
        path, base = (folder / "adapter", folder / "base") if layout == "adapter" else (folder, None)
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        # Weights twice as often as the small files beside them.
        files += [file for file in files if file.suffix in (".safetensors", ".bin")]
        fault = f"{layout}: {damage(generator.choice(files), generator)}"
        report = check(path, base)
        try:
            with contextlib.redirect_stderr(None):
                found = _answers(path, base)
        except ModelError as error:
            return fault, "refused", str(error)
        if not report.ok:
            return fault, "traceback", f"the check finds {report.problems}, but it loads"
        expected = _intact(sound, layout)
        if torch.equal(found[0], expected[0]) and found[1] == expected[1]:
            return fault, "harmless", ""
        # The file says something else now and nothing can tell: then it must count as another model.
        same = found[2] == expected[2]
        return fault, "traceback" if same else "unnoticed", "another model, same fingerprint" if same else ""


@functools.cache
def _intact(sound: str, layout: str) -> tuple[torch.Tensor, list[int], str]:
    folder = Path(sound) / layout
    return _answers(*((folder / "adapter", folder / "base") if layout == "adapter" else (folder, None)))


def _answers(path: Path, base: Path | None) -> tuple[torch.Tensor, list[int], str]:
    """Logits of a few tokens, the tokens of a text, and the fingerprint."""
    from medbench.models import fingerprint, load_model, load_tokenizer

    model: Any = load_model(path, base)
    tokenizer: Any = load_tokenizer(path, base)
    with torch.inference_mode():
        logits = model(torch.arange(3, 19)[None]).logits
    return logits, tokenizer("the quick brown fox")["input_ids"], str(fingerprint(path, base)["model"])
