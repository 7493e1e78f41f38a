#!/usr/bin/env bash
# An array of 100 jobs on AWS Batch. Batch tells each job its number, and hypir takes the shards of that number.
# QUEUE and DEFINITION name your job queue and a job definition whose image has `pip install 'hypir[cloud]'`.
set -euo pipefail
manifest=${MANIFEST:-s3://archive/scans.parquet}
aws batch submit-job \
  --job-name restore-scans \
  --job-queue "${QUEUE:?name your job queue}" \
  --job-definition "${DEFINITION:?name your job definition}" \
  --array-properties size=100 \
  --retry-strategy attempts=3 \
  --container-overrides "{\"command\": [\"hypir\", \"restore\", \"$manifest\"]}"
