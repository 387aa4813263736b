"""Other servers around the same handler. These files run in those servers' own environments."""
