#!/bin/sh
# pack.sh MODEL_STORE: packs two models and the workflow that asks both.
set -eu
store=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for language in german french; do
    cp "$here/$language.json" "$scratch/words.json"
    torch-model-archiver --model-name "$language" --version 1.0 --handler "$here/translate.py" \
        --extra-files "$scratch/words.json" --export-path "$store" --force
done
torch-workflow-archiver --workflow-name translate --spec-file "$here/spec.yaml" --handler "$here/functions.py" \
    --export-path "$store" --force
