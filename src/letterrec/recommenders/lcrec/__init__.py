"""LETTER-LC-Rec: a causal language model as a recommender."""
