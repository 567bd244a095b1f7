"""Where a network runs: the device, its memory, and pinned host memory."""
