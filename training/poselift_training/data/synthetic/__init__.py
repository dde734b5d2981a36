"""Views of motion capture through virtual cameras and detectors."""
