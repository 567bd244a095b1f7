"""Slides on this machine's disk: one copy of each content, pinned in use, in a byte budget."""
