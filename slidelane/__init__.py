"""The command line: starts API and workers as processes and keeps them running.

Imports `broker` only.
"""
