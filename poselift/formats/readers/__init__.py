"""Readers of detectors' files and of 3D poses: one module per kind of file, recognised by its content."""
