"""Reads one slide in a process of its own, without secrets and within limits of memory and time."""
