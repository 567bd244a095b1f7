"""Doubts about a scan, from its sample tiles: stain, focus, marks, folds, amount of tissue."""
