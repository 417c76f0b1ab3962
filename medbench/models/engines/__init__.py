"""Engines: what computes the answers."""
