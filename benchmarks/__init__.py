"""Benchmarks of this server and its peers. Nothing in the product imports from here."""
