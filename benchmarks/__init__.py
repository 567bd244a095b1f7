"""Benchmarks. Each measures its yardstick in the same run and shows the ratio of the two."""
