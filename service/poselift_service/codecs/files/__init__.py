"""Files of detectors to requests, and results to files of poses, as the command reads and writes them."""
