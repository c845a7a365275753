"""The verbs of the command line, one module each.

A verb module has `add_flags(parser)`, which declares its flags and its `--help` text, and `run(arguments) -> int`,
which makes one call into the house below and returns the exit code. Heavy imports stay inside `run`, so that `--help`
answers at once.
"""
