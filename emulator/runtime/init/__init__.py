"""The small first process of every container. Standard library only: it starts in a few hundredths of a second.

It is told what to do by one JSON line on its standard input, which it then keeps open: a byte `T` there asks the container's
process to end, `K` or the end of the stream (the account is gone) kills everything. It exits with the container's exit code.
"""
