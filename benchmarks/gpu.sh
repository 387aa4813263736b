#!/bin/sh
# What the kernels do on this machine's GPU: checked first, then measured. benchmarks/gpu.sh [--out FILE]; under 8 minutes:
#
#   30 s  is there a GPU
#  240 s  the tests marked gpu: each kernel compiled and compared, streams, graphs, nvJPEG; a red one ends it here
#   60 s  benchmarks.gpu compares what it is about to time, and records the graphs
#   40 s  times of the ops, 53 runs of each call and of plain PyTorch
#  100 s  whole batches: 6 ways, 2 sizes, up to 3 figures, 4 runs each
#
# The first, the second and the last three together are held to it; what has been printed by then counts. 470 s in all.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
timeout 30 "$python" -c 'import torch, sys; sys.exit(0 if torch.cuda.is_available() else "PyTorch finds no CUDA device here")'
timeout 240 "$python" -m pytest -q -m gpu tests/kernels
exec timeout 200 "$python" -m benchmarks.gpu "$@"
