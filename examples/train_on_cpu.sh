#!/bin/sh
# Both stages of the embedded backbone on a processor, from a folder of photographs to a restored picture.
set -e
photos=${1:?usage: train_on_cpu.sh PHOTOS_DIR OUT_DIR [STEPS]}
out=${2:?usage: train_on_cpu.sh PHOTOS_DIR OUT_DIR [STEPS]}
steps=${3:-300}

hypir train-encoder --out "$out/encoder" --resume auto \
  --set preset=tiny --set "data.sources=[$photos]" --set "schedule.first.steps=$steps"

hypir train-gan --out "$out/gan" --resume auto \
  --set preset=tiny --set "data.sources=[$photos]" --set "schedule.first.steps=$steps" \
  --set "model.encoder=$out/encoder/encoder.safetensors"

hypir info "$out/gan"
hypir restore "$photos" "$out/restored" \
  --encoder "$out/encoder/encoder.safetensors" --lora "$out/gan/ema.safetensors"
