"""The bench: takes an id, makes a delivered result.

Imports `broker` only; knows nothing of HTTP requests that come in.
"""
