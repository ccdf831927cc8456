"""``python -m letterrec``: the command line."""

from letterrec.cli import main

if __name__ == "__main__":
    main()
