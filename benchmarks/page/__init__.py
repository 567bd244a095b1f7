"""The middle of the page, slide and findings, in a real browser."""
