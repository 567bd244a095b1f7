"""A source becomes a slide on this machine; one module or package for each kind."""
