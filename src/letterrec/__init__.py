"""LetterRec: generative recommendation with learnable item tokenization."""

__version__ = "0.1.0"
