"""Scores of lifters on data with known poses."""
