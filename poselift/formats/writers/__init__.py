"""Writers of poses."""
