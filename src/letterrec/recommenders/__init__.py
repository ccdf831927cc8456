"""Recommenders: histories -> the codes of the next item."""
