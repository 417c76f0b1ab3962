"""Hold the engine against lm-eval's ``hf`` on a real model: ``python -m benchmarks.real_model MODEL``.

Each loads the checkpoint by itself, and both answer the same requests, ``hf`` one at a time: letters and
whole options by log-likelihood, and written answers, as the checkpoint says and with a repetition penalty
of 1.1. Documents are real ones where ``--data-dir`` has them, else the bundled samples.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.table import Table

from medbench.data import load
from medbench.models import MedbenchLM
from medbench.models.checkpoints.folder import resolve

#: Dataset of each protocol.
PROTOCOLS = {"letters": "medmcqa", "options": "mmlu_anatomy", "written": "medqa_us"}
PENALTIES = (None, 1.1)
_NEW_TOKENS = 48


@dataclass(frozen=True)
class Agreement:
    """How two engines agree on one protocol.

    Attributes:
        documents: How many were asked.
        same: Documents with the same choice, or the same text.
        answers: The choices or texts of this engine.
        largest: Largest difference of two log-probabilities, of all tokens of an option; NaN for texts.
        per_token: The same of the mean over its tokens.
        seconds: Time of this engine and of ``hf``.
    """

    documents: int
    same: int
    answers: tuple[Any, ...]
    largest: float
    per_token: float
    seconds: tuple[float, float]


def engines(path: str | Path) -> tuple[Any, Any]:
    """Load a checkpoint twice: with this engine, as it is named, and with ``hf``, from its folder."""
    from lm_eval.models.huggingface import HFLM

    own = MedbenchLM(str(path), device="cpu", routing="off")
    theirs = cast("Any", HFLM)(pretrained=str(resolve(path)), dtype="float32", device="cpu", batch_size=1)
    return own, theirs


def with_penalty(path: str | Path, penalty: float, folder: Path) -> Path:
    """Make a folder of links to a checkpoint's files whose ``generation_config.json`` asks for a penalty."""
    source = resolve(path)
    folder.mkdir()
    name = "generation_config.json"
    for file in source.iterdir():
        if file.name != name:
            (folder / file.name).symlink_to(file.resolve())
    said = json.loads((source / name).read_text(encoding="utf-8")) if (source / name).is_file() else {}
    (folder / name).write_text(json.dumps(said | {"repetition_penalty": penalty}), encoding="utf-8")
    return folder


def compare(pair: tuple[Any, Any], protocol: str, documents: Sequence[Mapping[str, Any]]) -> Agreement:
    """Have both answer the documents in a protocol.

    Raises:
        ValueError: They do not turn a chat into the same prompt.
    """
    kind, requests = _requests(protocol, documents, pair)
    (mine, first), (other, second) = (_timed(lm, kind, requests) for lm in pair)
    if kind == "generate_until":
        chosen: list[list[Any]] = [[str(text) for text in mine], other]
        off = means = [math.nan]
    else:
        chosen = [_choices(answers, requests) for answers in (mine, other)]
        off = [abs(one[0] - two[0]) for one, two in zip(mine, other, strict=True)]
        texts = [request.args[1] for request in requests]
        tokens = [len(pair[1].tokenizer(text, add_special_tokens=False).input_ids) for text in texts]
        means = [value / count for value, count in zip(off, tokens, strict=True)]
    same = sum(one == two for one, two in zip(*chosen, strict=True))
    return Agreement(len(documents), same, tuple(chosen[0]), max(off), max(means), (first, second))


def _requests(
    protocol: str, documents: Sequence[Mapping[str, Any]], pair: tuple[Any, Any]
) -> tuple[str, list[Any]]:
    from lm_eval.api.instance import Instance

    kind = "generate_until" if protocol == "written" else "loglikelihood"
    found = []
    for number, document in enumerate(documents):
        lines = [
            f"{letter}. {text}" for letter, text in zip(document["letters"], document["options"], strict=True)
        ]
        question = "\n".join([document["question"], *lines, "Answer:"])
        prompt, another = (lm.apply_chat_template([{"role": "user", "content": question}]) for lm in pair)
        if prompt != another:
            raise ValueError(f"the prompts differ: {prompt!r}, {another!r}")
        ends: list[Any]
        if protocol == "written":
            ends = [{"until": ["<|im_end|>"], "max_gen_toks": _NEW_TOKENS, "do_sample": False}]
        else:
            ends = list(document["letters"] if protocol == "letters" else document["options"])
        found += [
            Instance(kind, dict(document), (prompt, end), place, metadata=(protocol, number, 1))
            for place, end in enumerate(ends)
        ]
    return kind, found


def _timed(lm: Any, kind: str, requests: list[Any]) -> tuple[list[Any], float]:
    started = time.perf_counter()
    answers = getattr(lm, kind)(requests, disable_tqdm=True)
    return answers, time.perf_counter() - started


def _choices(answers: Sequence[Any], requests: Sequence[Any]) -> list[int]:
    """The likeliest answer of each document."""
    scores: dict[int, list[float]] = {}
    for answer, request in zip(answers, requests, strict=True):
        scores.setdefault(request.doc_id, []).append(answer[0])
    return [max(range(len(each)), key=each.__getitem__) for each in scores.values()]


def main() -> None:
    """Compare and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="checkpoint, such as a GGUF file")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--documents", type=int, default=100, help="of each protocol")
    options = parser.parse_args()
    columns = ("protocol", "penalty", "documents", "same", "largest", "per token", "seconds", "hf")
    table = Table(*columns, title=Path(options.model).name)
    with tempfile.TemporaryDirectory() as work:
        for penalty in PENALTIES:
            model = options.model
            if penalty is not None:
                model = with_penalty(model, penalty, Path(work) / f"penalty-{penalty:g}")
            pair = engines(model)
            for protocol, dataset in PROTOCOLS.items():
                found: Any = load(dataset, options.data_dir)["test"]
                documents = [dict(found[place]) for place in range(min(options.documents, len(found)))]
                result = compare(pair, protocol, documents)
                table.add_row(
                    protocol,
                    "as shipped" if penalty is None else f"{penalty:g}",
                    str(result.documents),
                    str(result.same),
                    f"{result.largest:.1e}",
                    f"{result.per_token:.1e}",
                    *(f"{seconds:.1f}" for seconds in result.seconds),
                )
                Console(width=110).print(table)  # so far: it takes its time


if __name__ == "__main__":
    main()
