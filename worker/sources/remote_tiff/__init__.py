"""The tiles of a region out of a TIFF behind a URL, without the rest of the file."""
