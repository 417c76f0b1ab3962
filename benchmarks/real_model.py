"""Hold the engine against lm-eval's ``hf`` on a real model: ``python -m benchmarks.real_model MODEL``.

Both answer the same requests, ``hf`` one at a time: letters and whole options by log-likelihood, and
written answers, as the checkpoint says and with a repetition penalty of 1.1. Documents are
real ones where ``--data-dir`` has them, else the bundled samples.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.table import Table

from medbench.data import load
from medbench.models import MedbenchLM, load_model, load_tokenizer

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
        largest: Largest difference of two log-probabilities, of all tokens of an option; NaN for texts.
        per_token: The same of the mean over its tokens.
        seconds: Time of this engine and of ``hf``.
    """

    documents: int
    same: int
    largest: float
    per_token: float
    seconds: tuple[float, float]


def compare(
    model: Any, tokenizer: Any, protocol: str, documents: Sequence[Mapping[str, Any]], penalty: float | None
) -> Agreement:
    """Have both answer the documents in a protocol."""
    from lm_eval.models.huggingface import HFLM

    settings = cast("Any", model).generation_config
    before = settings.repetition_penalty
    if penalty is not None:
        settings.repetition_penalty = penalty
    try:
        own = MedbenchLM(model=model, tokenizer=tokenizer, routing="off", add_bos_token=False)
        theirs = cast("Any", HFLM)(pretrained=model, tokenizer=tokenizer, batch_size=1, add_bos_token=False)
        kind, requests = _requests(protocol, documents, own)
        (mine, first), (other, second) = (_timed(lm, kind, requests) for lm in (own, theirs))
    finally:
        settings.repetition_penalty = before
    if kind == "generate_until":
        chosen: list[list[Any]] = [[str(text) for text in mine], other]
        off = means = [math.nan]
    else:
        chosen = [_choices(answers, requests) for answers in (mine, other)]
        off = [abs(one[0] - two[0]) for one, two in zip(mine, other, strict=True)]
        texts = [request.args[1] for request in requests]
        tokens = [len(tokenizer(text, add_special_tokens=False).input_ids) for text in texts]
        means = [value / count for value, count in zip(off, tokens, strict=True)]
    same = sum(one == two for one, two in zip(*chosen, strict=True))
    return Agreement(len(documents), same, max(off), max(means), (first, second))


def _requests(protocol: str, documents: Sequence[Mapping[str, Any]], lm: MedbenchLM) -> tuple[str, list[Any]]:
    from lm_eval.api.instance import Instance

    kind = "generate_until" if protocol == "written" else "loglikelihood"
    found = []
    for number, document in enumerate(documents):
        lines = [
            f"{letter}. {text}" for letter, text in zip(document["letters"], document["options"], strict=True)
        ]
        question = "\n".join([document["question"], *lines, "Answer:"])
        prompt = lm.apply_chat_template([{"role": "user", "content": question}])
        ends: list[Any]
        if protocol == "written":
            ends = [{"until": ["<|im_end|>"], "max_gen_toks": _NEW_TOKENS, "do_sample": False}]
        else:
            ends = list(document["letters"] if protocol == "letters" else document["options"])
        found += [
            Instance(
                request_type=kind, doc=dict(document), arguments=(prompt, end), idx=place, task_name=protocol,
                doc_id=number, repeats=1,
            )
            for place, end in enumerate(ends)
        ]  # fmt: skip
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
    model, tokenizer = load_model(options.model), load_tokenizer(options.model)
    table = Table(
        "protocol", "penalty", "documents", "same", "largest difference", "seconds", "hf", title=options.model
    )
    for penalty in PENALTIES:
        for protocol, dataset in PROTOCOLS.items():
            if penalty is not None and protocol != "written":
                continue  # it is in force where tokens are written
            found: Any = load(dataset, options.data_dir)["test"]
            documents = [dict(found[place]) for place in range(min(options.documents, len(found)))]
            result = compare(model, tokenizer, protocol, documents, penalty)
            table.add_row(
                protocol,
                "as shipped" if penalty is None else f"{penalty:g}",
                str(result.documents),
                str(result.same),
                f"{result.largest:.1e}",
                f"{result.per_token:.1e}",
                *(f"{seconds:.1f}" for seconds in result.seconds),
            )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
