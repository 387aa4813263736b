"""One model version, and the registry of all of them."""
