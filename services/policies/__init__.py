"""Orders that are made by rules: policies for scans that arrive, and templates."""
