"""Scores to the likeliest classes and their probabilities, in one launch and one download. Imports torch."""

from .op import SOFTMAX_TOPK, softmax_topk

__all__ = ["SOFTMAX_TOPK", "softmax_topk"]
