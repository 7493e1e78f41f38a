"""Files of teachers with random weights."""

from __future__ import annotations

import struct
from pathlib import Path

import torch
from torch import nn

from hypir_cli.train.networks.realesrgan import RealEsrgan


def write_ncnn(network: nn.Module, path: Path) -> Path:
    """The network's convolutions in ncnn's float16 format; its weights are rounded to float16."""
    with path.open("wb") as file:
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                assert module.bias is not None
                module.weight.data = module.weight.data.half().float()
                weights = module.weight.detach().half().numpy().tobytes()
                file.write(struct.pack("<I", 0x01306B47) + weights + bytes(len(weights) % 4))
                file.write(module.bias.detach().numpy().tobytes())
    return path


def write_teacher(path: Path) -> Path:
    """A file of the whole Real-ESRGAN x4plus network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return write_ncnn(RealEsrgan(), path)
