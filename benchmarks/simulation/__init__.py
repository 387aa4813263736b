"""The scheduler under virtual time: its real Lane, simulated clients and workers."""
