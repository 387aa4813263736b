"""Workflows: graphs of models and functions, each of whose nodes is a model with workers of its own."""
