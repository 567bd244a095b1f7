"""The files of a result that hold its objects, figures and vectors, for people and programs."""
