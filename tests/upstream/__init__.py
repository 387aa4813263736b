"""TorchServe's own suites, from a checkout of its repository, against this server."""
