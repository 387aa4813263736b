"""When a batch runs, and on which device. Pure: every verb takes `now`; only `model_scheduler.py` reads a clock."""
