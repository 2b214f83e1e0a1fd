"""`python -m mpcompile` is the command `mpcompile`."""

from mpcompile.cli import main

if __name__ == "__main__":
    main()
