"""The command line: starts the rooms as processes and keeps them running. Imports `broker` only."""
