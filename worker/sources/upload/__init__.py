"""A slide that a caller has sent in."""
