"""Ranking metrics and the paper's protocol: full ranking, leave-one-out."""
