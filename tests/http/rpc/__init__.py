"""Tests of http/rpc."""
