"""Reports for people: HTML pages, Markdown, LaTeX and CSV tables, and the table in the terminal."""

from __future__ import annotations

from medbench.reports.page import render_report, write_report

__all__ = ["render_report", "write_report"]
