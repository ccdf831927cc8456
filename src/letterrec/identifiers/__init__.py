"""Item identifiers (semantic IDs): codes, tokens, collisions, diagnostics."""
