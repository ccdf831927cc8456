"""``python -m letterrec.cli``: the command line, as ``torchrun -m letterrec.cli`` starts it."""

from letterrec.cli.app import main

if __name__ == "__main__":
    main()
