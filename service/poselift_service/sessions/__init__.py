"""Sessions of live streams, and the stores that keep their frames."""
