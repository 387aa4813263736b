"""What front and backend say to each other: frames and typed messages, no pickle, no I/O.

They go over one socket; of the memory that both share it is known here what is taken.
"""
