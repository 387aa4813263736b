"""The differential test: the real TorchServe and this server, asked the same things."""
