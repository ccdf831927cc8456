"""The run folder: what it holds, and what one run can take from another."""
