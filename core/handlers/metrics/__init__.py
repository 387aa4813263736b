"""The metrics that a handler emits, and the classes by which older handlers emit them."""
