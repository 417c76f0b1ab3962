"""The lm-eval model: requests, answers, two passes, and the settings of generation."""
