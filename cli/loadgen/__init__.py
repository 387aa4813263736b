"""The load generator: schedules, an HTTP/1.1 client and statistics, used by `torchserve bench` and by the
benchmarks.
"""
