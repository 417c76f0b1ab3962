"""The keys that definitions may have: lm-eval 0.4.13's own and medbench's few additions.

Written out rather than asked of lm-eval, whose import takes seconds; a test compares the two.
"""

from __future__ import annotations

__all__ = [
    "AGGREGATIONS",
    "DRAWING_KEYS",
    "FAMILIES",
    "GENERATION_KEYS",
    "GROUP_KEYS",
    "LANGUAGES",
    "METRIC_ARGUMENTS",
    "METRIC_KEYS",
    "OUTPUT_TYPES",
    "PROTOCOLS",
    "REQUIRED_METADATA",
    "SECOND_PASS_KEYS",
    "TASK_KEYS",
]

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
