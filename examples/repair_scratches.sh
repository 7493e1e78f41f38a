#!/bin/sh
# Scratches and dust out of photographs: white in a mask is where a photograph is lost, the rest stays bit for bit what it was.
# Usage: repair_scratches.sh [PHOTOS] [WORK_DIR]; the scratches are drawn here, yours come from a scanner and a brush.
set -eu
here=$(dirname "$0")
photos=${1:-$here/originals}
work=${2:-scratches}
python3 "$here/draw_scratches.py" "$photos" "$work/scratched" "$work/masks"
hypir solve "$work/scratched" "$work/repaired" --task inpaint --mask "$work/masks" --report "$work/report.json"
