"""The keys that definitions may have: lm-eval 0.4.13's own and medbench's few additions, and checks of them.

Written out rather than asked of lm-eval, whose import takes seconds; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from medbench.catalog.tasks import Merged, TaskDefinition
from medbench.checks.findings import Finding
from medbench.common.suggest import suggestion
from medbench.errors import CatalogError

# fmt: off
TASK_KEYS = frozenset({
    "class", "custom_dataset", "dataset_kwargs", "dataset_name", "dataset_path", "description",
    "doc_to_audio",
    "doc_to_choice", "doc_to_decontamination_query", "doc_to_image", "doc_to_target", "doc_to_text",
    "fewshot_config", "fewshot_delimiter", "fewshot_split", "filter_list", "gen_prefix", "generation_kwargs",
    "include", "metadata", "metric_list", "num_fewshot", "output_type", "process_docs", "process_results",
    "repeats", "should_decontaminate", "tag", "target_delimiter", "task", "task_alias", "test_split",
    "training_split", "unsafe_code", "use_prompt", "validation_split",
})
GROUP_KEYS = frozenset({
    "aggregate_metric_list", "group", "group_alias", "include", "metadata", "tag", "task",
})
# How tokens are drawn.
DRAWING_KEYS = frozenset({
    "epsilon_cutoff", "eta_cutoff", "min_p", "temperature", "top_h", "top_k", "top_p", "typical_p",
})
GENERATION_KEYS = DRAWING_KEYS | frozenset({
    "bad_words_ids", "begin_suppress_tokens", "close_thinking", "constrain", "do_sample",
    "encoder_no_repeat_ngram_size", "encoder_repetition_penalty", "exponential_decay_length_penalty",
    "forced_bos_token_id", "forced_eos_token_id", "max_gen_toks", "min_length", "min_new_tokens",
    "no_repeat_ngram_size", "remove_invalid_values", "renormalize_logits", "repetition_penalty",
    "second_pass", "sequence_bias", "suppress_tokens", "until",
})
SECOND_PASS_KEYS = frozenset({"join", "letters", "letters_of", "marker", "max_gen_toks", "suffix", "when"})
METRIC_KEYS = frozenset({"aggregation", "higher_is_better", "hf_evaluate", "kwargs", "metric"})
# What lm-eval's own metrics take beside it, those of exact_match.
METRIC_ARGUMENTS = frozenset({
    "ignore_case", "ignore_numbers", "ignore_punctuation", "regexes_to_ignore",
})
AGGREGATIONS = frozenset({
    "bits_per_byte", "bleu", "brier_score", "bypass", "chrf", "chrf++", "f1", "matthews_corrcoef", "mean",
    "median", "nanmean", "perplexity", "ter", "weighted_perplexity",
})
# fmt: on
OUTPUT_TYPES = frozenset({"generate_until", "loglikelihood", "loglikelihood_rolling", "multiple_choice"})
LANGUAGES = ("en", "zh")
FAMILIES = ("exam", "extraction", "classification", "matching", "generation")
PROTOCOLS = ("letters", "labels", "generate", "direct", "cot", "ming", "medcare")
REQUIRED_METADATA = ("version", "dataset", "language", "family", "protocol", "main_metric")


def duplicate_keys(merged: Merged, task: str) -> Iterator[Finding]:
    """Find keys that are written twice in one file, of which YAML silently keeps the last."""
    for source in merged.sources:
        for way, line in source.duplicates:
            yield Finding(
                source.path,
                line,
                "duplicate-key",
                f"the key {'.'.join(map(str, way))!r} is written twice",
                "keep one of them; only the last one counts",
                task,
            )


def unknown_keys(
    merged: Merged, found: Mapping[str, Any], known: frozenset[str], way: tuple[str | int, ...], task: str
) -> Iterator[Finding]:
    """Find unknown keys.

    Args:
        merged: The YAML.
        found: The mapping to check.
        known: The keys that it may have.
        way: Path of the mapping in the YAML.
        task: Name of the task or group.
    """
    for key in found:
        if str(key) not in known:
            yield Finding.at(
                merged.place(*way, str(key)),
                "unknown-key",
                f"unknown key {str(key)!r}" + (f" in {way[-1]}" if way else ""),
                suggestion(key, sorted(known)),
                task,
            )


def unknown_task_keys(task: TaskDefinition) -> Iterator[Finding]:
    """Find unknown keys of a task; a task that is a class may have any."""
    if not task.merged.values.get("class"):
        yield from unknown_keys(task.merged, task.merged.values, TASK_KEYS, (), task.name)


def refuse_misread(task: TaskDefinition) -> None:
    """Refuse a task that lm-eval would not read as it is written.

    Raises:
        CatalogError: A key is unknown or written twice.
    """
    if task.builtin:
        return  # it is read as everybody who runs lm-eval reads it
    faults = [*duplicate_keys(task.merged, task.name)]
    faults += unknown_task_keys(task)
    if faults:
        first = faults[0]
        where = f"{first.file}, line {first.line}" if first.line else str(first.file)
        raise CatalogError(first.message, where=where, hint=first.hint or None)
