#!/usr/bin/env bash
# On a Ray cluster that is there: eight actors with a GPU each. Started again, it takes up what is missing.
# RAY_ADDRESS is the cluster's dashboard, e.g. http://head:8265.
set -euo pipefail
ray job submit --address "${RAY_ADDRESS:?name the dashboard of your cluster}" \
  --runtime-env-json '{"pip": ["hypir[ray]"]}' -- \
  hypir restore "${MANIFEST:-s3://archive/scans.parquet}" \
  --engine ray --ray-address auto --actors 8 --gpus-per-actor 1
