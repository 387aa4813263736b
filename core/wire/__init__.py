"""The protocol between front and backend: frames and typed messages over one socket. No pickle, no I/O.

Of the memory that both processes share, this package only keeps account of which parts are taken.
"""
