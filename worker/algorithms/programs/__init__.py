"""The kinds `command` and `container`: programs of a site. Loads no torch."""
