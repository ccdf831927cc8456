"""What is legal next (the trie) and the search over it (the beam)."""
