"""Traces: what every router chose for every token, of a run or of the prompts of some tasks.

A trace holds k bytes of choices and k bytes of gate weights per token and linear, and four bytes of token id
per token. Two checkpoints traced on the same tasks saw the same prompts and can be compared choice by choice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medbench.common.files import read_only_address
from medbench.errors import ModelError, RunError
from medbench.models.routing.counts import PHASES
from medbench.models.routing.traces import Traces
from medbench.runs.directory import RunDirectory, read_json, replacing
from medbench.runs.plan import RunPlan
from medbench.runs.routing import need_router_modules

if TYPE_CHECKING:
    from medbench.runs.store import ResponseStore

__all__ = ["PHASES", "Traces", "read_traces", "run_traces", "save_traces", "trace", "traced_vocabulary"]


def save_traces(traces: Traces, path: Path) -> None:
    """Write a compressed NumPy archive, without pickles."""
    with replacing(path) as temporary:
        temporary.write_bytes(traces.to_bytes())


def read_traces(path: Path) -> Traces:
    """Read what :func:`save_traces` wrote, or the traces of a run directory.

    Raises:
        RunError: The file is something else, or damaged; or the run has no traces.
    """
    if path.is_dir():
        return run_traces(path)
    try:
        return Traces.from_bytes(path.read_bytes())
    except (OSError, ModelError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise RunError(
            f"the trace cannot be read: {why}", where=str(path), hint="`medbench routing trace` makes one"
        ) from error


def run_traces(folder: Path, tasks: Collection[str] | None = None) -> Traces:
    """The traces of a finished run, by task, document, phase and place.

    In memory: T tokens of M routers take 2 k M T bytes, such as 288 MB for a million tokens of 72 routers.

    Args:
        folder: The run directory.
        tasks: Only these tasks.

    Raises:
        RunError: The run did not record single tokens, or its response store cannot be read.
    """
    directory = RunDirectory(folder)
    if not directory.manifest.exists():
        raise RunError("no run lies here", where=str(folder), hint="give the directory of one run")
    missing = RunError(
        "this run has no traces",
        where=str(folder),
        hint="run a model with routers with --routing tokens; responses.sqlite holds the traces",
    )
    if not directory.vocabulary.exists() or not directory.responses.exists():
        raise missing
    words: Any = read_json(directory.vocabulary)
    manifest: Any = read_json(directory.manifest)
    wanted = set(words["tasks"]) if tasks is None else set(words["tasks"]) & set(tasks)
    parts = []
    with _reader(directory.responses) as connection:
        for (blob,) in connection.execute("SELECT trace FROM traces ORDER BY batch"):
            part = Traces.from_bytes(blob)
            keep = np.array([task in wanted for task, _ in part.documents], dtype=bool)
            if keep.any():
                parts.append(part.select(keep))
    if not parts:
        raise missing
    return replace(
        Traces.join(parts).ordered(),
        model=str(manifest.get("model", "")),
        texts={int(token): str(text) for token, text in words["texts"].items()},
        special=frozenset(int(token) for token in words["special"]),
    )


@contextmanager
def _reader(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(read_only_address(path), uri=True)) as connection:
            yield connection
    except (sqlite3.Error, UnicodeDecodeError, ModelError) as error:
        raise RunError(f"the traces cannot be read: {error}", where=str(path)) from error


def traced_vocabulary(store: ResponseStore, tokenizer: Any, tasks: Iterable[str]) -> dict[str, Any] | None:
    """What ``vocabulary.json`` says: which tasks were traced, and what their tokens stand for.

    Analysis has no tokenizer. ``None`` if nothing was traced.
    """
    seen = [np.unique(part.tokens) for part in store.traces()]
    if not seen:
        return None
    texts, special = _words(tokenizer, np.unique(np.concatenate(seen)).tolist())
    return {"tasks": sorted(tasks), "texts": texts, "special": sorted(special)}


def _words(tokenizer: Any, tokens: Iterable[int]) -> tuple[dict[int, str], frozenset[int]]:
    """The texts of tokens, and which of them are marks and no text."""
    marks = {int(number) for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    wanted = list(tokens)
    texts = {token: str(tokenizer.decode([token], clean_up_tokenization_spaces=False)) for token in wanted}
    return texts, frozenset(marks & set(wanted))


def trace(plan: RunPlan, *, message: Callable[[str], None] = lambda _: None) -> Traces:
    """Trace a model on the prompts of a plan's tasks; a document asked several ways counts once per task.

    Raises:
        ModelError: The model has no routers, or they cannot be traced; nothing was computed.
        RunError: No task could be loaded.
    """
    from medbench.models import MedbenchLM
    from medbench.models.engines.choices import router_choices
    from medbench.models.routing.router_finding import need_routers
    from medbench.runs.extras import reason
    from medbench.runs.harness import gather_requests, quiet_harness
    from medbench.runs.loading import load_tasks
    from medbench.runs.protocol import model_source

    message(f"loading {plan.model.model}")
    source = model_source(plan.model)
    need_router_modules(source)
    model = source.model()
    routers = need_routers(model, traced=True)
    lm = MedbenchLM(
        model=model,
        tokenizer=source.tokenizer(),
        routing="off",
        seed=plan.settings.seed,
        thinking=plan.protocol.reasoning(),
        add_bos_token=plan.settings.add_bos_token,
    )
    runnable = [task for task in plan.tasks if task.name not in plan.failures]
    with quiet_harness(allow_code=plan.allow_code):
        tasks, broken = load_tasks(runnable, plan.settings)
        requests = gather_requests(
            lm, tasks, plan.settings, chat_template=plan.chat_template, system=plan.system_prompt
        )
    prompts: dict[tuple[str, int], str] = {}
    for instances in requests.values():
        for instance in instances:
            prompts.setdefault((str(instance.task_name), int(instance.doc_id)), instance.args[0])
    if not prompts:
        raise RunError("no task could be loaded", hint="\n".join(map(reason, broken.values())))
    encoded = [lm.tok_encode(prompt)[-lm.max_length :] or [lm.prefix_token_id] for prompt in prompts.values()]
    message(f"{len(encoded)} prompts, {sum(map(len, encoded)):,} tokens")
    found = list(router_choices(model, encoded, max_batch_tokens=lm.engine.max_batch_tokens))
    tokens = np.concatenate([np.asarray(text, np.int32) for text in encoded])
    texts, special = _words(lm.tokenizer, np.unique(tokens).tolist())
    return Traces(
        model=plan.model.model,
        routers=tuple((router.layer, router.projection) for router in routers),
        num_experts=routers[0].num_experts,
        documents=tuple(prompts),
        phases=np.zeros(len(encoded), np.uint8),
        starts=np.zeros(len(encoded), np.int32),
        offsets=np.cumsum([0, *map(len, encoded)], dtype=np.int64),
        tokens=tokens,
        choice=np.concatenate([part.choice for part in found], axis=1),
        gate=np.concatenate([part.gate for part in found], axis=1),
        texts=texts,
        special=special,
    )
