"""Annotation loaders like caMicroscope's DynamicServices: the QuIP zip and its upload."""
