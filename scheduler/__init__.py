"""When a batch runs, and on which device. Pure: every verb takes `now`; only `lane.py` knows an event loop."""
