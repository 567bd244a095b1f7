"""Reads and checks what callers send: bodies, queries and orders."""
