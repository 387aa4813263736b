"""How images become the tensor that a model of images takes."""
