#!/bin/sh
# Pack the digit reader: examples/digits/pack.sh [MODEL_STORE] writes MODEL_STORE/digits.mar (model_store by default).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
store=${1:-model_store}
mkdir -p "$store"
torch-model-archiver --model-name digits --version 1.0 \
  --model-file "$here/model.py" --serialized-file "$here/digits.pt" --handler "$here/handler.py" \
  --extra-files "$here/ink.py,$here/index_to_name.json" --config-file "$here/model-config.yaml" \
  --export-path "$store" --force
echo "$store/digits.mar"
