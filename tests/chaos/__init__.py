"""Chaos: the real server under clients and faults that mean harm, with every answer checked against its request."""
