"""Runs programs of a site on scans, and makes findings of what they post."""
