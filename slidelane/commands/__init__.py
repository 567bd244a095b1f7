"""Commands for people who have slides and models: run, order, algorithm."""
