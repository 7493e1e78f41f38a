"""Put what `run_stage.py prior` has trained into a folder that `hypir solve --base FOLDER` uses.

python examples/tiny/solve_prior.py RUN_DIR/network.safetensors FOLDER [--base FOLDER_THE_RUN_STARTED_FROM]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from prior_stages import put_into

from hypir_cli.models.backbones.tiny.backbone import TinyBackbone
from hypir_cli.models.checkpoint import load_tensors


def main() -> None:
    """Parse and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--base", type=Path, help="unset takes the package's own weights")
    arguments = parser.parse_args()
    backbone = TinyBackbone.load(arguments.base)
    put_into(backbone, load_tensors(arguments.network)[0], kind="prior")
    backbone.texture_predictor = None
    backbone.save(arguments.folder, dtype=torch.float16)


if __name__ == "__main__":
    main()
