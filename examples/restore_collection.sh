#!/usr/bin/env bash
# Restore every subfolder of a collection, one log line each: restore_collection.sh COLLECTION RESULTS
# Run it again after an interruption: what is finished is skipped. A folder with failures is named at the end.
set -u
collection=$1 results=$2 failed=()

for folder in "$collection"/*/; do
  name=$(basename "$folder")
  if hypir restore "$folder" "$results/$name" --report "$results/$name.json" --format jpg; then
    echo "$name: done"
  else
    failed+=("$name")
  fi
done

if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed in: %s\n' "${failed[@]}" && exit 1
fi
