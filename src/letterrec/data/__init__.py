"""Readers: one module per source format;  tells them apart."""
