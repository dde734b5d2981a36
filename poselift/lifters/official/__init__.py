"""Importers and exporters of the papers' official checkpoints."""
