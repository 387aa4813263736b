"""What makes a loaded model faster without changing its answers by more than rounding."""
