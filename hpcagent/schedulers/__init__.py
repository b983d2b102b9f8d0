"""Batch systems: pure command builders and pure parsers of text."""
