"""gRPC: framing, statuses and services on the streams of an HTTP/2 connection."""
