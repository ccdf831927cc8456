"""Readers of data sources, one module per format; `discovery.READERS` is the table of them."""
