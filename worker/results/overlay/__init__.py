"""Draws overlay.png: what was found on a small picture of the area, with a legend."""
