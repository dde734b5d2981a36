"""P-STMO: the lifter, its losses, its masked pretraining and its refine module.

Source: P-STMO (ECCV 2022), official code at commit aea43d0.
"""
