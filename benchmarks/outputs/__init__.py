"""Whole slides through networks of every kind of output, beside plain loops that do the same."""
