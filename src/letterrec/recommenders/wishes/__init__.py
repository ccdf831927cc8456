"""Wishes in words: wording them for training, parsing, encoding, and excluding items by them."""
