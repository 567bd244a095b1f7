"""TIFF and its dialects, read tile by tile."""
