"""The catalogue of a run in service: items, what changed of them, and the file that keeps it."""
