"""Whole slides against the machine and against others: same slide, same tiles, same network, same cores.

A contestant is a script that is told a task and says one line of JSON; each of the others has its own environment.
"""
