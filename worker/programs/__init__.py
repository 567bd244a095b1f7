"""Runs programs of a site: what they are told, where they run, and what they post."""
