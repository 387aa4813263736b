"""Adapters that run a workload's handler in other servers. These files run in those servers' own environments."""
