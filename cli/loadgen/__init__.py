"""The load generator: schedules, clients of HTTP/1.1 and gRPC, and statistics, used by `torchserve bench` and by the
benchmarks.
"""
