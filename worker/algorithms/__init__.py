"""The algorithms that can be ordered. The only package that imports torch.

Knows nothing of slides on disk, orders, queues or destinations.
"""
