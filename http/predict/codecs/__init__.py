"""Wire formats of predictions: how a request's bytes become a Payload, and a reply or an error its answer."""
