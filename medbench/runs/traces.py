"""Traces: what every router chose for every token of the prompts of some tasks.

A trace holds k bytes of choices and k bytes of gate weights per token and linear, and four bytes of token id
per token. Two checkpoints traced on the same tasks saw the same tokens and can be compared choice by choice.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench.errors import RunError
from medbench.runs.files import replacing
from medbench.runs.plan import RunPlan

__all__ = ["Traces", "read_traces", "trace"]


@dataclass(frozen=True)
class Traces:
    """Choices of M routers for the T tokens of D prompts.

    Attributes:
        model: Name of the model.
        routers: The M routers: (layer, projection).
        num_experts: E.
        documents: The D prompts: (task, place of the document in it).
        offsets: [D + 1] where each prompt begins among the tokens, and where the last ends.
        tokens: [T] token ids.
        choice: [M, T, k] experts chosen, best first.
        gate: [M, T, k] their gate weights in units of 1/255.
    """

    model: str
    routers: tuple[tuple[int, str], ...]
    num_experts: int
    documents: tuple[tuple[str, int], ...]
    offsets: NDArray[np.int64]
    tokens: NDArray[np.int32]
    choice: NDArray[np.uint8]
    gate: NDArray[np.uint8]

    def save(self, path: Path) -> None:
        """Write a compressed NumPy archive, without pickles."""
        head = {
            "model": self.model,
            "routers": self.routers,
            "num_experts": self.num_experts,
            "documents": self.documents,
        }
        text = np.frombuffer(json.dumps(head, ensure_ascii=False).encode("utf-8"), np.uint8)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                head=text,
                offsets=self.offsets,
                tokens=self.tokens,
                choice=self.choice,
                gate=self.gate,
            )


def read_traces(path: Path) -> Traces:
    """Read what :meth:`Traces.save` wrote.

    Raises:
        RunError: The file is something else, or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            head: Any = json.loads(archive["head"].tobytes().decode("utf-8"))
            found = Traces(
                model=str(head["model"]),
                routers=tuple((int(layer), str(name)) for layer, name in head["routers"]),
                num_experts=int(head["num_experts"]),
                documents=tuple((str(task), int(place)) for task, place in head["documents"]),
                offsets=archive["offsets"],
                tokens=archive["tokens"],
                choice=archive["choice"],
                gate=archive["gate"],
            )
        shape = (len(found.routers), len(found.tokens), found.choice.shape[2])
        whole = found.choice.shape == found.gate.shape == shape and found.choice.dtype == np.uint8
        places = np.asarray(found.offsets, dtype=np.int64)
        if not whole or (found.choice.size and int(found.choice.max()) >= found.num_experts):
            raise ValueError("the choices do not fit the tokens")
        if len(places) != len(found.documents) + 1 or (np.diff([0, *places, len(found.tokens)]) < 0).any():
            raise ValueError("the documents do not fit the tokens")
    except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(
            f"the trace cannot be read: {error}", where=str(path), hint="`medbench routing trace` makes one"
        ) from error
    return found


def trace(plan: RunPlan, *, message: Callable[[str], None] = lambda _: None) -> Traces:
    """Trace a model on the prompts of a plan's tasks; a document asked several ways counts once per task.

    Raises:
        ModelError: The model has no routers.
        RunError: No task could be loaded.
    """
    from medbench.models import MedbenchLM
    from medbench.models.choices import router_choices
    from medbench.models.molora import molora_linears
    from medbench.runs.harness import gather_requests, load_tasks, quiet_harness, reason
    from medbench.runs.opening import open_model, open_tokenizer

    message(f"loading {plan.model.model}")
    model = open_model(plan)
    lm = MedbenchLM(model=model, tokenizer=open_tokenizer(plan), routing="off", seed=plan.settings.seed)
    names = [task.name for task in plan.tasks if task.name not in plan.failures]
    with quiet_harness():
        tasks, broken = load_tasks(names, plan.folders, plan.settings)
        requests = gather_requests(
            lm, tasks, plan.settings, chat_template=plan.chat_template, system=plan.system_prompt
        )
    prompts: dict[tuple[str, int], str] = {}
    for instances in requests.values():
        for instance in instances:
            prompts.setdefault((str(instance.task_name), int(instance.doc_id)), instance.args[0])
    if not prompts:
        raise RunError("no task could be loaded", hint="\n".join(map(reason, broken.values())))
    texts = [lm.tok_encode(prompt)[-lm.max_length :] or [lm.prefix_token_id] for prompt in prompts.values()]
    message(f"{len(texts)} prompts, {sum(map(len, texts)):,} tokens")
    found = list(router_choices(model, texts, max_batch_tokens=lm.engine.max_batch_tokens))
    modules = [module for module in molora_linears(model) if module.num_experts > 1]
    return Traces(
        model=plan.model.model,
        routers=tuple((module.layer, str(module.projection)) for module in modules),
        num_experts=modules[0].num_experts,
        documents=tuple(prompts),
        offsets=np.cumsum([0, *map(len, texts)], dtype=np.int64),
        tokens=np.concatenate([np.asarray(text, np.int32) for text in texts]),
        choice=np.concatenate([part.choice for part in found], axis=1),
        gate=np.concatenate([part.gate for part in found], axis=1),
    )
