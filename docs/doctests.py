"""Doctests in docstrings are shown as code, wherever they stand in them: an extension of Griffe."""

from __future__ import annotations

import re
from typing import Any

import griffe

_DOCTEST = re.compile(r"^(>>> .*(?:\n.+)*)", re.MULTILINE)


class Doctests(griffe.Extension):
    """Puts a fence around each block that begins with ``>>>``, if there is none."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change an object's docstring before it is parsed."""
        if obj.docstring and "```" not in obj.docstring.value:
            obj.docstring.value = _DOCTEST.sub(r"```pycon\n\1\n```", obj.docstring.value)
