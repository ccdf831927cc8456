"""Wishes in words: how they are worded, read, excluded by and learned."""
