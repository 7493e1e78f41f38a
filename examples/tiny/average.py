"""Average whole weights of runs that go back to the same start: artefacts that each drew for itself fade, what they share stays.

    python examples/tiny/average.py BACKBONE_DIR OUT_DIR FILE=SHARE [FILE=SHARE ...]

FILE is an `ema.safetensors` of a run with `lora.rank: full`, SHARE its weight; BACKBONE_DIR the backbone that the runs name as their
base. OUT_DIR becomes a folder for `hypir restore --base`.

Source: Model soups (arXiv:2203.05482); network interpolation in ESRGAN (arXiv:1809.00219), section 3.4.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from hypir_cli.models.backbones.tiny.backbone import TinyBackbone
from hypir_cli.models.checkpoint import load_tensors, save_tensors
from hypir_cli.models.whole import apply_whole


def main() -> None:
    """Parse, average, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("backbone_dir", type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("shares", nargs="+", metavar="FILE=SHARE")
    arguments = parser.parse_args()
    shares: dict[Path, float] = {}
    for text in arguments.shares:
        path, _, share = text.rpartition("=")
        try:
            shares[Path(path)] = float(share)
        except ValueError:
            parser.error(f"{text}: want FILE=SHARE, such as ema.safetensors=0.5")
    if abs(sum(shares.values()) - 1.0) > 1e-6:
        parser.error(f"the shares must add up to 1, not {sum(shares.values()):g}")
    arguments.out_dir.mkdir(parents=True, exist_ok=True)
    average = arguments.out_dir / "ema.safetensors"
    info = load_tensors(next(iter(shares)))[1]
    if info is None:
        raise SystemExit(f"{next(iter(shares))} was not written by hypir train-gan")
    save_tensors(average, averaged(shares), info=info)
    backbone = TinyBackbone.load(arguments.backbone_dir)
    apply_whole(backbone, average)
    backbone.save(arguments.out_dir)


def averaged(shares: dict[Path, float]) -> dict[str, Tensor]:
    """The weighted mean of the files' tensors."""
    total: dict[str, Tensor] = {}
    for path, share in shares.items():
        tensors = load_tensors(path)[0]
        if total and tensors.keys() != total.keys():
            raise SystemExit(f"{path} does not hold the tensors that the first file holds")
        for key, tensor in tensors.items():
            total[key] = total.get(key, torch.zeros(())) + share * tensor.double()
    return {key: tensor.float() for key, tensor in total.items()}


if __name__ == "__main__":
    main()
