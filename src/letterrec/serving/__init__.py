"""A run in service."""
