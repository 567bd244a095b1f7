"""Deliver stored results to their destination exactly once."""
