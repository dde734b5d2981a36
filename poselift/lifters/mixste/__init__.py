"""MixSTE: the lifter and its loss.

Source: MixSTE (CVPR 2022), official code at commit 72a36be.
"""
