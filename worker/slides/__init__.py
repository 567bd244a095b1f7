"""Pixels of a slide at any resolution, whatever its format."""
