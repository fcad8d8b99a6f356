"""Figures of results, their tables, pictures and files."""
