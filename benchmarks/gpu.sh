#!/bin/sh
# What the kernels do on this machine's GPU: checked first, then measured. benchmarks/gpu.sh [--out FILE]; under 8 minutes.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
"$python" -c 'import torch, sys; sys.exit(0 if torch.cuda.is_available() else "PyTorch finds no CUDA device here")'
"$python" -m pytest -q -m gpu tests/kernels
exec "$python" -m benchmarks.gpu "$@"
