"""What a running program talks to in place of Techcyte: one local server for each run."""
