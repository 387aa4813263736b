"""Predictions by WebSocket: the handshake, what arrives in frames, and the requests of one connection."""
