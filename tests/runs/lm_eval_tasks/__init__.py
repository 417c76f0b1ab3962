"""Ordinary lm-eval tasks of many forms, written for the tests, none with medbench's metadata."""
