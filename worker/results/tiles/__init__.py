"""Findings as tiles for a viewer: findings.pmtiles and findings.json."""
