#!/bin/sh
# Pack all-MiniLM-L6-v2: examples/sentences/pack.sh [MODEL_STORE] writes MODEL_STORE/sentences.mar.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
store=${1:-model_store}
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
mkdir -p "$store"
python "$here/weights.py" "$made"
torch-model-archiver --model-name sentences --version 1.0 \
  --model-file "$here/model.py" --serialized-file "$made/minilm.pt" --handler "$here/handler.py" \
  --extra-files "$here/wordpiece.py,$made/vocab.txt" --config-file "$here/model-config.yaml" \
  --export-path "$store" --force
echo "$store/sentences.mar"
