"""DynamicServices-style annotation loaders: the zip of QuIP heat maps and JSON, and its upload."""
