#!/bin/sh
# Pack Silero VAD: examples/voice/pack.sh [MODEL_STORE] writes MODEL_STORE/voice.mar.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
store=${1:-model_store}
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
mkdir -p "$store"
weights=$(python "$here/../where.py" silero-vad silero_vad/data/silero_vad.jit)
cp "$weights" "$made/silero.pt"
torch-model-archiver --model-name voice --version 1.0 \
  --serialized-file "$made/silero.pt" --handler "$here/handler.py" --config-file "$here/model-config.yaml" \
  --export-path "$store" --force
echo "$store/voice.mar"
