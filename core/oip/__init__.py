"""The Open Inference Protocol v2 without HTTP and without protobuf: tensors, requests, answers and their checks.

The front and the workers both read it. May import msgspec, core.errors and core.payload; never numpy.
"""
