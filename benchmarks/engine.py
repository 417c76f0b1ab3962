"""The engine beside the alternatives: ``python -m benchmarks.engine``.

On the same weights and documents: (a) the published loop over experts, one prompt at a time; (b) the ``hf``
backend of lm-eval; (c) this engine; (d) this engine on the bare base model. The systems take turns in every
round, so that what else the machine does falls on all of them; a ratio is of times within one round.
"""

from __future__ import annotations

import argparse
import logging
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import workloads
from benchmarks.synthetic import E8_R16, SMALL, WIDE, build_model, qwen_tokenizer
from benchmarks.workloads import Workload
from medbench.models import Engine, MedbenchLM, set_impl

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

System = Callable[[], Any]


@dataclass(frozen=True)
class Comparison:
    """Times of two systems over the rounds, and what their ratio should be.

    Attributes:
        name: What was asked of both.
        ours: Seconds of the engine, round by round.
        theirs: Seconds of the other.
        target: What the median should reach.
        loss: Whether the figure is the share of speed that the engine loses (to stay below the target) rather
            than how many times faster it is (to reach the target).
    """

    name: str
    ours: list[float]
    theirs: list[float]
    target: float
    loss: bool = False

    @property
    def figures(self) -> list[float]:
        """Round by round."""
        pairs = zip(self.ours, self.theirs, strict=True)
        return [1 - their / our if self.loss else their / our for our, their in pairs]

    @property
    def median(self) -> float:
        """The figure that counts."""
        return statistics.median(self.figures)

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return self.median <= self.target if self.loss else self.median >= self.target


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    logging.disable(logging.WARNING)
    torch.set_num_threads(options.threads)
    console = Console(width=130)
    console.print(f"{options.threads} threads, {options.rounds} rounds, float32, {SMALL}, E8 r16 top-2")
    comparisons = _prefill(options, console) if "molora" in options.only else []
    suites = [name for name in options.only if name != "molora"]
    if suites:  # the model of the prefill row is of another shape
        tokenizer = qwen_tokenizer(options.tokenizer)
        model = build_model(SMALL, E8_R16)
        for name in suites:
            comparisons += _SUITES[name](options, model, tokenizer, console)
    console.print(_table(comparisons))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    console.print(f"peak memory of the process: {peak:.1f} GiB")


def _exams(
    options: argparse.Namespace,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    console: Console,
    *,
    make: Callable[[Path, int], Workload],
    target: float,
    batch: int = 16,
) -> list[Comparison]:
    work = make(options.data, options.documents)
    hf = _hf(model, tokenizer, batch)
    ours = MedbenchLM(model=model, tokenizer=tokenizer, max_batch_tokens=options.max_batch_tokens)
    systems = {
        "c": lambda: _fresh(ours).loglikelihood(work.requests),
        "b": lambda: hf.loglikelihood(work.requests, disable_tqdm=True),
    }
    times, answers = _rounds(systems, options.rounds)
    off = max(abs(x[0] - y[0]) for x, y in zip(answers["c"], answers["b"], strict=True))
    _say(console, work, times, tokenizer, f"largest difference of a log-probability {off:.1e}")
    return [Comparison(f"{work.name}: (c) over (b) batch {batch}", times["c"], times["b"], target)]


def _generation(
    options: argparse.Namespace, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, console: Console
) -> list[Comparison]:
    work = workloads.generation(options.data, options.prompts, tokenizer)
    hf = _hf(model, tokenizer)
    ours = MedbenchLM(model=model, tokenizer=tokenizer, max_batch_tokens=options.max_batch_tokens)
    systems = {
        "c": lambda: _fresh(ours).generate_until(work.requests),
        "b": lambda: hf.generate_until(work.requests, disable_tqdm=True),
        "a": lambda: _one_by_one(model, tokenizer, work),
    }
    times, answers = _rounds(systems, options.rounds)
    same = sum(str(x) == y for x, y in zip(answers["c"], answers["b"], strict=True))
    new = sum(request.args[1]["max_gen_toks"] for request in work.requests)
    paces = ", ".join(
        f"({name}) {new / statistics.median(spans):.0f}" for name, spans in sorted(times.items())
    )
    note = f"{same} of {len(work.requests)} texts equal those of (b); new tokens/s, at most: {paces}"
    _say(console, work, times, tokenizer, note)
    return [
        Comparison(f"{work.name}: (c) over (a)", times["c"], times["a"], 7.0),
        Comparison(f"{work.name}: (c) over (b) batch 16", times["c"], times["b"], 2.5),
    ]


def _prefill(options: argparse.Namespace, console: Console) -> list[Comparison]:
    """Prefill with and without experts at the 1.8B width."""
    generator = torch.Generator().manual_seed(0)
    requests = [
        (torch.randint(0, WIDE.vocabulary, (127,), generator=generator).tolist(), [1]) for _ in range(8)
    ]
    ours, base = (Engine(build_model(WIDE, molora), routing="off") for molora in (E8_R16, None))
    systems = {"c": lambda: ours.score(requests), "d": lambda: base.score(requests)}
    times, _ = _rounds(systems, 3 * options.rounds)
    console.print(
        f"prefill of 1,016 tokens, {WIDE}: (c) {min(times['c']):.3f} s, (d) {min(times['d']):.3f} s"
    )
    return [Comparison("prefill, loss of (c) against (d)", times["c"], times["d"], 0.12, loss=True)]


def _recording(
    options: argparse.Namespace, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, console: Console
) -> list[Comparison]:
    """A percent is less than what a machine's speed wanders: processor time, one thread, many short turns."""
    exam = workloads.letters(options.data, min(options.documents, 24))
    texts = workloads.generation(options.data, min(options.prompts, 4), tokenizer)
    lms = {
        level: MedbenchLM(
            model=model,
            tokenizer=tokenizer,
            routing=level,
            max_batch_tokens=options.max_batch_tokens,
        )
        for level in ("tasks", "off")
    }
    found = []
    torch.set_num_threads(1)
    for work in (exam, texts):
        systems = {level: _answering(lm, work) for level, lm in lms.items()}
        times, _ = _rounds(systems, 6 * options.rounds, clock=time.process_time)
        on, off = (statistics.median(times[level]) for level in ("tasks", "off"))
        console.print(f"{work.name}: recording {on:.3f} s, off {off:.3f} s of processor time (medians)")
        name = f"{work.name}: recording on against off"
        found.append(Comparison(name, times["tasks"], times["off"], 0.02, loss=True))
    torch.set_num_threads(options.threads)
    return found


def _answering(lm: MedbenchLM, work: Workload) -> System:
    return lambda: getattr(_fresh(lm), work.kind)(work.requests)


def _fresh(lm: MedbenchLM) -> MedbenchLM:
    """The model with nothing answered yet."""
    from medbench.models import MemoryStore

    lm._store = MemoryStore()
    return lm


def _hf(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, batch: int = 16) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch, max_length=8192)


def _one_by_one(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, work: Workload) -> list[str]:
    set_impl(model, "loop")
    texts = []
    with torch.inference_mode():
        for request in work.requests:
            prompt, settings = request.args
            ids = torch.tensor([tokenizer.encode(prompt)])
            generate: Any = model.generate
            new = generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=settings["max_gen_toks"],
                do_sample=False,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
            texts.append(str(tokenizer.decode(new[0, ids.shape[1] :], skip_special_tokens=True)))
    set_impl(model, "stacked")
    return texts


def _rounds(
    systems: dict[str, System], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Let systems take turns; the order turns around from round to round."""
    times: dict[str, list[float]] = {name: [] for name in systems}
    answers: dict[str, Any] = {}
    for number in range(rounds):
        for name in list(systems)[:: 1 if number % 2 == 0 else -1]:
            started = clock()
            answers[name] = systems[name]()
            times[name].append(clock() - started)
    return times, answers


def _say(
    console: Console,
    work: Workload,
    times: dict[str, list[float]],
    tokenizer: PreTrainedTokenizerFast,
    note: str,
) -> None:
    tokens = sum(len(ids) for ids in tokenizer(sorted({r.args[0] for r in work.requests}))["input_ids"])
    speeds = ", ".join(
        f"({name}) {statistics.median(spans):.1f} s, {tokens / statistics.median(spans):.0f} prompt tokens/s"
        for name, spans in sorted(times.items())
    )
    console.print(f"{work.name}: {work.documents} documents, {tokens} prompt tokens; {speeds}; {note}")


def _table(comparisons: Sequence[Comparison]) -> Table:
    table = Table(title="ratios within a round")
    for column in ("", "min", "median", "max", "target", "met"):
        table.add_column(column, justify="left" if not column else "right")
    for comparison in comparisons:
        write = "{:.1%}".format if comparison.loss else "{:.2f}×".format
        figures = comparison.figures
        sign = "≤ " if comparison.loss else "≥ "
        table.add_row(
            comparison.name,
            write(min(figures)),
            write(comparison.median),
            write(max(figures)),
            sign + write(comparison.target),
            "yes" if comparison.met else "no",
        )
    return table


_SUITES: dict[str, Callable[..., list[Comparison]]] = {
    "generation": _generation,
    "letters": partial(_exams, make=workloads.letters, target=3.5),
    # It projects every position on the vocabulary: a batch of 16 long prompts takes more than 24 GB.
    "five_shot": partial(_exams, make=workloads.five_shot, target=6.0, batch=4),
    "options": partial(_exams, make=workloads.long_options, target=6.0),
    "recording": _recording,
}


def _budget(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of real documents")
    parser.add_argument("--tokenizer", type=Path, help="qwen.tiktoken; default: the dashscope package's")
    parser.add_argument("--documents", type=int, default=200, help="documents of each exam")
    parser.add_argument("--prompts", type=int, default=64, help="prompts to continue")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-batch-tokens", type=_budget, default="auto", help="a number, or auto")
    parser.add_argument("--only", nargs="+", choices=["molora", *_SUITES], default=["molora", *_SUITES])
    return parser


if __name__ == "__main__":
    main()
