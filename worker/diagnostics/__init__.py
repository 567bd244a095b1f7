"""The checks of `slidelane doctor` that need a worker's libraries."""
