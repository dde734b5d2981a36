"""Writers of 3D poses: JSON, as POST /lift answers, and NumPy archives."""
