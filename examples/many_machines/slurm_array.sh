#!/usr/bin/env bash
#SBATCH --job-name=restore
#SBATCH --array=0-15
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=4
# Sixteen tasks take every sixteenth shard of a manifest each; a task that is started again goes on where it ended.
# First:  hypir plan s3://archive/scans s3://archive/restored --manifest s3://archive/scans.parquet
# Then:   sbatch slurm_array.sh
set -euo pipefail
hypir restore "${MANIFEST:-s3://archive/scans.parquet}" --report "report.json" "$@"
