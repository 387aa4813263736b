"""What arrives and what goes back, free of the library that read it: heads, bodies, replies, errors, limits."""
