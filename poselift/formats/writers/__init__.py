"""Writers of 3D poses, one file each; `pose_file` chooses by the ending of the output."""
