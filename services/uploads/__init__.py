"""Slides that callers send in, by the protocol tus 1.0.0."""
