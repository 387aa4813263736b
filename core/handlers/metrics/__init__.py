"""The metrics that a handler emits, and the classes that older handlers emit them with."""
