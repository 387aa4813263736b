#!/bin/sh
# Pack the chain of words: examples/words/pack.sh [MODEL_STORE [TEXT_FILE]] writes MODEL_STORE/words.mar.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
store=${1:-model_store}
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
mkdir -p "$store"
python "$here/chain.py" "$made" ${2:+"$2"}
torch-model-archiver --model-name words --version 1.0 \
  --handler "$here/handler.py" --extra-files "$made/chain.json" --config-file "$here/model-config.yaml" \
  --export-path "$store" --force
echo "$store/words.mar"
