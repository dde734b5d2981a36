"""Importers and exporters of the papers' official checkpoints: one module per paper.

A checkpoint must fit tensor by tensor: an importer reads the sizes from it, lays out the network that they describe,
and `Checkpoint.check_fit` names whatever is missing, unknown or of another shape.
"""
