"""Turns the id of waiting work into a result that is delivered.

Imports `broker` only, and knows nothing of HTTP requests that come in.
"""
