#!/bin/sh
# Pack EfficientNet-Lite0: examples/imagenet/pack.sh [MODEL_STORE] writes MODEL_STORE/imagenet.mar.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
store=${1:-model_store}
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
mkdir -p "$store"
python "$here/weights.py" "$made"
torch-model-archiver --model-name imagenet --version 1.0 \
  --serialized-file "$made/lite0.pt" --handler image_classifier --extra-files "$made/index_to_name.json" \
  --config-file "$here/model-config.yaml" --export-path "$store" --force
echo "$store/imagenet.mar"
