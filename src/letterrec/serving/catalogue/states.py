"""The states of a catalogue's items."""

from __future__ import annotations

from typing import Literal

State = Literal["active", "blocked", "deleted"]
STATES: tuple[State, ...] = ("active", "blocked", "deleted")
GONE = len(STATES)  # the state of rows whose items are not in the file of edits any more
