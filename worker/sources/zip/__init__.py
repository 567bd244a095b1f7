"""A slide in a zip archive behind a URL."""
