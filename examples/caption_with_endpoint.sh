#!/bin/sh
# Caption a folder with a vision model behind any OpenAI-compatible server, into a table that train-gan reads:
#   export OPENAI_BASE_URL=http://localhost:8000/v1 OPENAI_API_KEY=...
#   sh caption_with_endpoint.sh PHOTOS prompts.parquet
# Run it again after an interruption or with more photographs: only what has no prompt is asked about.
set -e
hypir caption "$1" --to parquet --out "$2" --captioner openai --batch 8 --per-minute 300
