"""LETTER-LC-Rec: a causal language model, fine-tuned to recommend items by their identifiers."""
