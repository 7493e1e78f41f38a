#!/usr/bin/env bash
# A prompt of its own for each image: restore_with_prompts.sh PHOTOS RESULTS
# Prompts stand in a tree of .txt files beside the photographs' tree; here file names become the first drafts.
set -euo pipefail
photos=$1 results=$2 prompts=$results/prompts

mkdir -p "$prompts"
for photo in "$photos"/*; do
  name=$(basename "${photo%.*}")
  [ -e "$prompts/$name.txt" ] || echo "a photograph of ${name//[_-]/ }" > "$prompts/$name.txt"
done

hypir restore "$photos" "$results" --prompt-dir "$prompts" --prompt "a photograph" --report "$results/report.json"
