"""The training loop: steps, checkpoints, devices and how it stops."""
