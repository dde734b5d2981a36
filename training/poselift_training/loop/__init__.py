"""The training loop: steps, checkpoints, records, devices, and stopping."""
