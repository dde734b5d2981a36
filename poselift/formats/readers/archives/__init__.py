"""Readers of NumPy's files: archives, single arrays, and the pickles in them, which are never run."""
