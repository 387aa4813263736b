"""lint: finds what would fail or is dangerous in a model's archive. The files are read, never run."""
