"""What would fail or is dangerous in a model's archive, found by reading it; nothing of it is run."""
