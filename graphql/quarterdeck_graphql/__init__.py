"""Asking: the record as it is and as it was, what happened, why, and the proof; every command as a mutation.

What is here answers questions; it decides nothing and keeps nothing. Who asks is recognised by whoever serves it.
"""
