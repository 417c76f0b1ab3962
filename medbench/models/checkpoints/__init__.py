"""Checkpoints: reading, checking, converting, and loading them with their tokenizers."""
