"""`python -m slidelane`: the same as the command `slidelane`."""

from slidelane.cli import main

if __name__ == "__main__":
    main()
