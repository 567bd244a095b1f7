"""A region of a slide on an image server: IIIF, IIP or DeepZoom."""
