"""What runs in the process that runs a site's code. Started as `python -m` this package."""
