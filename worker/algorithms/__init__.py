"""What can be ordered: the algorithms, their cards, and the only door to torch."""
