"""Exam answers judged as the scripts of MING's and MedCare's authors judge them."""

from __future__ import annotations

from medbench.scoring.authors.protocols import COMMITS, RULES, rule, verdict

__all__ = ["COMMITS", "RULES", "rule", "verdict"]
