"""The built-in algorithms, written against the public interface, and what runs them."""
