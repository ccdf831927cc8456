"""The training loop, its checkpoints, threads and processes."""
