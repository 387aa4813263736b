"""Predictions: from the head of a request to a payload for the dataplane, and from the reply to its client."""
