"""Which GPUs a worker gets, and what of their memory is promised to whom."""
