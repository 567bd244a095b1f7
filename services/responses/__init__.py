"""Builds what the API answers: orders as callers see them, problems, and ranges of files."""
