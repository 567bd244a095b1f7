"""Runs a site's own Python code: the kind `python`. The code never runs in a process of ours.

`host` is the process that runs it, `host_process` what the worker sees of that process.
"""
