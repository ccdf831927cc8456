"""Content and collaborative-filtering (CF) embeddings of items, and their similarity."""
