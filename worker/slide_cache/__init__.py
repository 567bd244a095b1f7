"""Slides on this machine's disk: one copy for each content, pinned while in use, within a budget of bytes."""
