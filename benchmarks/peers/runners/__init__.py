"""One script for each contestant, run in its environment: `python -m benchmarks.peers.runners.NAME TASK.json`.

Each loads its model and warms it before the clock starts, and stops the clock with all probabilities in memory.
"""
