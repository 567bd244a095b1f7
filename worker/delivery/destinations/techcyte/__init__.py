"""Techcyte: the payload, its schema, and the call that posts it."""
