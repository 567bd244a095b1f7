"""Bytes over HTTP: downloads, ranges, retries and limits."""
