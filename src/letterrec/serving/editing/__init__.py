"""Edits of a catalogue in service: what may be asked, what is checked, and what becomes of it."""
