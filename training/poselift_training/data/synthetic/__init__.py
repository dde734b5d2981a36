"""Motion capture seen through virtual cameras and simulated keypoint detectors.

Letters: B windows, T frames of each, J = 17 joints. "Screen coordinates" are those of `poselift.coordinates`: the
picture is 2 wide and x = y = 0 is its middle.
"""
