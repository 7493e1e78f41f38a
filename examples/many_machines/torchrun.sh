#!/usr/bin/env bash
# One machine with several GPUs: a process for each, which takes the GPU of its number. The first one reports for all.
set -euo pipefail
inputs=${1:?usage: torchrun.sh INPUTS OUTPUTS [PROCESSES] [OPTIONS...]}
outputs=${2:?usage: torchrun.sh INPUTS OUTPUTS [PROCESSES] [OPTIONS...]}
processes=${3:-gpu}
torchrun --standalone --nproc-per-node="$processes" -m hypir_cli restore "$inputs" "$outputs" "${@:4}"
