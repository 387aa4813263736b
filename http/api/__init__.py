"""The endpoints of the inference, management and metrics APIs, beside predictions."""
