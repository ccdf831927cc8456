"""``python -m letterrec``: the command line."""

from letterrec.cli.app import main

if __name__ == "__main__":
    main()
