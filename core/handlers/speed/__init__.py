"""What makes a loaded model faster and changes its answers by no more than rounding."""
