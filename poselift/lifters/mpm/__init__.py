"""MPM: 2D and 3D poses in one space, to lift, to reconstruct masked windows, and to complete 3D poses.

Source: MPM, official code, classes `Model` (lifting), `MPMmask2` (pretraining) and `MPMmask` (completion).
"""
