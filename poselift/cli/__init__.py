"""The `poselift` command: one module per group of commands.

Slow packages are imported inside the commands that need them, so that `poselift --help` answers at once.
"""
