"""Slides read in a separate process, so that a broken decoder cannot harm the worker."""
