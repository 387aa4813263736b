"""The scheduler under virtual time: its real ModelScheduler, simulated clients and workers."""
