"""The version of the package, for what it writes and serves; `pyproject.toml` reads it here."""

VERSION = "0.1.0"
