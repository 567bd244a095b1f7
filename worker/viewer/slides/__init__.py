"""Slides that are looked at: which may be, those that are open, and their pictures."""
