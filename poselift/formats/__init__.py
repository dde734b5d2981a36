"""Files of keypoints and poses."""
