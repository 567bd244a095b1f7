"""Asks the viewer process, which alone opens slides for the API."""
