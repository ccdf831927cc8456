"""rqt, the fast default: a causal transformer over items, a shallow decoder over codes."""
