"""The read side: tables derived from the log, whose rows carry the range of positions in which they hold.

*As of then* is the same query as *now* with another position. Everything here can be thrown away and rebuilt.
"""
