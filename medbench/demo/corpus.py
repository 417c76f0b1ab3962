"""What the demo learns from: the prompts of the bundled samples, as a run poses them, with their answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medbench.catalog import TaskDefinition
from medbench.runs.harness import quiet_harness
from medbench.runs.loading import load_tasks
from medbench.runs.settings import RunSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# ChatML, the format of Qwen1.5 chat models and of MING-MOE.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
END_OF_TEXT, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"


@dataclass(frozen=True)
class Example:
    """One prompt and its answer.

    Attributes:
        task: Task name.
        kind: Language and family of the task, such as ``zh-exam``.
        prompt: The text before the answer.
        answer: The gold answer.
        ends: Whether the model must also learn to stop after it (generated answers).
    """

    task: str
    kind: str
    prompt: str
    answer: str
    ends: bool


def read_examples(tasks: Sequence[TaskDefinition], render: Callable[..., str]) -> list[Example]:
    """Build the prompts of the bundled samples with their gold answers.

    Args:
        tasks: Leaf tasks.
        render: ``tokenizer.apply_chat_template``-like function from messages to text.
    """
    with quiet_harness():
        built, failures = load_tasks(tasks, RunSettings(data_source="samples"))
        if failures:
            raise next(iter(failures.values()))
        examples: list[Example] = []
        for name, task in built.items():
            task.build_all_requests(
                system_instruction=None,
                apply_chat_template=True,
                fewshot_as_multiturn=True,
                chat_template=render,
            )
            examples.extend(_examples_of(name, task))
    return examples


def _examples_of(name: str, task: Any) -> Iterable[Example]:
    metadata = task.config.metadata
    kind = f"{metadata['language']}-{metadata['family']}"
    for instance in task.instances:
        target = task.doc_to_target(instance.doc)
        if task.OUTPUT_TYPE == "multiple_choice":
            choices = task.doc_to_choice(instance.doc)
            if instance.idx == (choices.index(target) if isinstance(target, str) else target):
                prompt, answer = instance.args
                yield Example(name, kind, prompt, answer, ends=False)
        else:
            yield Example(name, kind, instance.args[0], str(target), ends=True)


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer with ChatML's special tokens.

    Args:
        texts: What to learn the merges from.
        vocabulary: Number of tokens, special ones and the 256 bytes included.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, eos_token=END, pad_token=END_OF_TEXT, model_max_length=4096
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast
