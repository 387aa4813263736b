"""Metrics: what is counted in the front, and what handlers may emit."""
