"""Requests and answers as such, whatever library reads the connection: heads, bodies, replies, errors, limits."""
