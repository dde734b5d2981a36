"""Where the frames of live streams are kept."""
