"""From windows to answers: served models, and for each of them a queue, a batcher and an engine."""
