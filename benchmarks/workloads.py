"""Real documents as lm-eval requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medbench.catalog import resolve_tasks
from medbench.runs.harness import quiet_harness
from medbench.runs.loading import load_tasks
from medbench.runs.settings import RunSettings

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from transformers import PreTrainedTokenizerFast

GENERATION_LIMITS = (8, 16, 32, 64, 128)
_MMLU = ("anatomy", "clinical_knowledge", "college_biology", "college_medicine", "medical_genetics",
         "professional_medicine")  # fmt: skip
# Labels of KUAKE-QTR, whose own file here has five documents: asked about questions of CMExam instead.
_QTR_LABELS = ("完全匹配", "部分匹配", "很少匹配，有一些参考价值", "完全不匹配或者没有参考价值")
_PROMPTS = ("cmexam_cot", "medqa_us_cot", "pubmedqa_cot", "promptcblue_cmeee_v2", "promptcblue_chip_cdee")


@dataclass(frozen=True)
class Workload:
    """Requests of one kind.

    Attributes:
        name: What it stands for.
        kind: ``loglikelihood`` or ``generate_until``.
        requests: lm-eval's.
    """

    name: str
    kind: str
    requests: list[Instance]

    @property
    def documents(self) -> int:
        """Documents asked about."""
        return len({(request.task_name, request.doc_id) for request in self.requests})


def letters(data: Path, documents: int) -> Workload:
    """CMExam, letters, 0-shot."""
    return Workload("letters, CMExam 0-shot", "loglikelihood", _requests(["cmexam_single"], data, documents))


def five_shot(data: Path, documents: int) -> Workload:
    """MMLU's medical subjects, letters, five worked examples."""
    names = [f"mmlu_medical_{subject}" for subject in _MMLU]
    each = -(-documents // len(names))
    return Workload("letters, MMLU medical 5-shot", "loglikelihood", _requests(names, data, each, shots=5))


def long_options(data: Path, documents: int) -> Workload:
    """Four labels of 4 to 14 tokens about each question."""
    from lm_eval.api.instance import Instance

    questions = [r for r in _requests(["cmexam_single"], data, documents) if r.idx == 0]
    requests = [
        Instance(
            "loglikelihood",
            {},
            (
                f"判断检索词与页面标题的匹配程度：\n{question.args[0]}\n选项：{'，'.join(_QTR_LABELS)}\n答：",
                label,
            ),
            number,
            ("kuake_qtr_like", place, 1),
        )
        for place, question in enumerate(questions)
        for number, label in enumerate(_QTR_LABELS)
    ]
    return Workload("4 labels of several tokens", "loglikelihood", requests)


def generation(data: Path, prompts: int, tokenizer: PreTrainedTokenizerFast) -> Workload:
    """Prompts of several tasks, limits of 8 to 128 new tokens in turn."""
    from lm_eval.api.instance import Instance

    each = -(-prompts // len(_PROMPTS))
    found = _requests(_PROMPTS, data, each, tokenizer=tokenizer)
    more = _requests(["cmexam_cot"], data, prompts, tokenizer=tokenizer)[each:]
    chosen = [*found, *more][:prompts]
    requests = [
        Instance(
            "generate_until",
            {},
            (
                request.args[0],
                {
                    "until": ["<|im_end|>"],
                    "do_sample": False,
                    "max_gen_toks": GENERATION_LIMITS[number % len(GENERATION_LIMITS)],
                },
            ),
            0,
            ("prompts", number, 1),
        )
        for number, request in enumerate(chosen)
    ]
    return Workload("generation, limits 8 to 128", "generate_until", requests)


def _requests(
    names: Sequence[str],
    data: Path,
    documents: int,
    *,
    shots: int = 0,
    tokenizer: PreTrainedTokenizerFast | None = None,
) -> list[Instance]:
    """Build the requests of the first documents of some tasks."""
    settings = RunSettings(data_dir=str(data), data_source="folder", num_fewshot=shots)
    with quiet_harness():
        tasks, failures = load_tasks(resolve_tasks(names).tasks, settings)
        if failures:
            raise next(iter(failures.values()))
        requests: list[Any] = []
        for task in tasks.values():
            task.build_all_requests(
                limit=documents,
                system_instruction=None,
                apply_chat_template=tokenizer is not None,
                fewshot_as_multiturn=tokenizer is not None,
                chat_template=None if tokenizer is None else _renderer(tokenizer),
            )
            requests += task.instances
    return requests


def _renderer(tokenizer: PreTrainedTokenizerFast) -> Any:
    def render(chat: list[dict[str, str]], add_generation_prompt: bool = True) -> Any:
        return tokenizer.apply_chat_template(
            chat, tokenize=False, add_generation_prompt=add_generation_prompt
        )

    return render
