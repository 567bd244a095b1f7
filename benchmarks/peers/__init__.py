"""Compares whole slides with the limits of the machine and with other programs.

All have the same slide, tiles, network and cores. A contestant is a script that reads a task and
prints one line of JSON. Each of the other programs has a virtual environment of its own.
"""
