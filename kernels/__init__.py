"""Fused preprocessing kernels and their plain PyTorch twins. Imports torch and triton, nothing of the web."""
