"""The load generator: schedules, an HTTP/1.1 client, statistics. `torchserve bench` and the benchmarks drive it."""
