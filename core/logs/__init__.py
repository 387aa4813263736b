"""The server's logs: what is logged where, in which format, and the one thread that writes it."""
