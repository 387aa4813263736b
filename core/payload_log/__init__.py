"""The payload log: sampled requests and answers of models, kept in a file or sent to an http sink."""
