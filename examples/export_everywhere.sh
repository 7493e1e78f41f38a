#!/bin/sh
# One trained LoRA for three programs, at half its size: sh export_everywhere.sh RUN_OR_FILE OUT_DIR [RANK]
set -e
mkdir -p "$2"
rank=${3:+--rank $3}
hypir export-lora "$1" "$2/comfyui.safetensors" --format kohya --dtype fp16 $rank
hypir export-lora "$1" "$2/diffusers.safetensors" --format diffusers --dtype fp16 $rank
hypir export-lora "$1" "$2/peft" --format peft --dtype fp16 $rank
