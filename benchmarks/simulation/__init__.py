"""The scheduler in virtual time: the real ModelScheduler with simulated clients and workers."""
