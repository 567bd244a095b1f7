"""Techcyte: the body of the results post, its schema, and the calls to the API."""
