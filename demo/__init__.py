"""The demonstration, and what the tests share with it: a generated slide and stand-in receivers."""
