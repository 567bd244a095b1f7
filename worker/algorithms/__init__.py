"""What can be ordered, and the only door to torch. Knows nothing of slides on disk, orders, queues or destinations."""
