"""Put whole weights, the result of `hypir train-gan` with `lora.rank: full`, into a folder for `--base`.

python examples/tiny/finish.py BASE_DIR RUN_DIR/ema.safetensors OUT_DIR
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hypir_cli.models.backbones.tiny.backbone import TinyBackbone
from hypir_cli.models.whole import apply_whole


def main() -> None:
    """Parse, load, save in float16."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base_dir", type=Path, help="the backbone that the run started from")
    parser.add_argument("weights", type=Path)
    parser.add_argument("out_dir", type=Path)
    arguments = parser.parse_args()
    backbone = TinyBackbone.load(arguments.base_dir)
    info = apply_whole(backbone, arguments.weights)
    backbone.save(arguments.out_dir)
    print(f"wrote {arguments.out_dir} from update {info.training_step}")


if __name__ == "__main__":
    main()
