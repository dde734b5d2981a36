"""Files of detectors in, files of poses out."""
