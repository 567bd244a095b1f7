"""Watched folders: a courier finds the slides that arrive in them."""
