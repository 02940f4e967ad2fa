"""A training run: loop, batches, checkpoints, what its folder holds."""
