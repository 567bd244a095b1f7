"""Shows slides over HTTP as IIIF images, in a process without models, secrets or Redis."""
