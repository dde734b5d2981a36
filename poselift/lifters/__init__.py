"""Networks that turn windows of 2D frames into 3D poses."""
