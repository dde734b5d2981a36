"""How far off a lifter is, under which conditions."""
