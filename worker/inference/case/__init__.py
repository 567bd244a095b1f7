"""Judges a case: one bag of the vectors of all scans of an order."""
