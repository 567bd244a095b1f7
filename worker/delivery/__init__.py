"""A kept result arrives once at its destination."""
