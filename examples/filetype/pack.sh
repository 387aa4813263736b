#!/bin/sh
# Pack magika's ONNX model: examples/filetype/pack.sh [MODEL_STORE] writes MODEL_STORE/filetype.mar.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
store=${1:-model_store}
mkdir -p "$store"
model=$(python "$here/../where.py" magika magika/models/standard_v3_3/model.onnx)
about=$(python "$here/../where.py" magika magika/models/standard_v3_3/config.min.json)
torch-model-archiver --model-name filetype --version 1.0 \
  --serialized-file "$model" --handler "$here/handler.py" --extra-files "$about" \
  --config-file "$here/model-config.yaml" --export-path "$store" --force
echo "$store/filetype.mar"
