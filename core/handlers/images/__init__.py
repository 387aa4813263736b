"""How images from requests become the tensor that a model takes."""
