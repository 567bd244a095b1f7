"""How fast, against what: each benchmark runs its yardstick in the same run and is told as a ratio."""
