"""One script for each contestant: `python -m benchmarks.peers.runners.NAME TASK.json`.

Each loads its model and warms it up before the clock starts, and stops the clock when all
probabilities are in memory.
"""
