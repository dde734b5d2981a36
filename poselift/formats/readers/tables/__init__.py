"""Readers of tables: CSV of several programs, HDF5, TRC and label files."""
