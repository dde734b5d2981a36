"""Readers: one file per kind of file, told apart by content."""
