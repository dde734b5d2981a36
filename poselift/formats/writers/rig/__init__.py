"""Motion in the world on a rig: the skeleton of animation programs, in the files that they read."""
