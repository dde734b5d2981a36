"""From windows to poses: queue, engine and models."""
