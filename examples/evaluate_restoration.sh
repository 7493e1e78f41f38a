#!/bin/sh
# Degrade clean photographs, restore them, and see what it gained: sh evaluate_restoration.sh PHOTOS OUT
set -e
hypir degrade "$1" "$2/lq" --preset light --seed 0
hypir restore "$2/lq" "$2/restored" --existing overwrite --report "$2/restore.json"
hypir eval "$2/restored" --name hypir --compare degraded="$2/lq" --gt "$1" --lq "$2/lq" \
  --restore-report "$2/restore.json" --report "$2/out.html" --report "$2/out.json"
echo "Open $2/out.html in a browser."
