"""Tokenizers: content and CF embeddings -> codes."""
