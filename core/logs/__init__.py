"""The server's logs: what is logged where, in which shape, and the one thread that writes it."""
