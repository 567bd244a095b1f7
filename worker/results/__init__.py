"""Findings as values, on disk, and in each file format."""
