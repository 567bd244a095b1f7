"""What `make demo` and the tests share: a sample slide made on the spot and stand-in receivers."""
