"""Slides of which only some bytes or regions are on this machine."""
