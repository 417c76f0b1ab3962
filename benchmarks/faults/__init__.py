"""Faults on purpose: killed runs, damaged stores, damaged checkpoints, mutated definitions."""
