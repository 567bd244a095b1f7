"""What commands of `slidelane` run in a worker's process, without Redis."""
