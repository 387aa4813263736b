"""Connections: listeners, TLS, and the two protocols that read requests and write answers."""
