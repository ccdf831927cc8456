"""TIGER: a T5 over the code tokens of the history, as in the paper's LETTER-TIGER."""
