"""The catalogue of a run in service: items, edits, and the file that keeps the edits."""
