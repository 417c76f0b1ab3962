"""Reports for people: HTML pages, Markdown, LaTeX and CSV tables, and the table in the terminal."""

from __future__ import annotations

__all__: list[str] = []
