"""What is true about an AI estate and what may be decided about it.

Pure: no I/O, no clock, no randomness. Events are facts, slices are commands, and every
decision is a function of the facts it asked for.
"""
