"""Which modules are gathered as units when frozen weights are dealt out to the processes."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn

from hypir_cli.models.lora import add_fresh_lora
from hypir_cli.train.sharding import shard_units
from tests.builders import BUILDERS, load_built

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
SIZED = {
    "sd2": {"BasicTransformerBlock", "ResnetBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"},
    "sdxl": {"BasicTransformerBlock", "ResnetBlock2D", "CrossAttnUpBlock2D"},
    "sd3": {"JointTransformerBlock"},
    "sd35": {"JointTransformerBlock"},
    "flux": {"FluxTransformerBlock", "FluxSingleTransformerBlock"},
    "flux2": {"Flux2TransformerBlock", "Flux2SingleTransformerBlock"},
}
"""What the units of each family are; that is the networks' own word for what must not be split."""
NUM_BLOCKS = {"sd3": 24, "sd35": 38, "flux": 19 + 38, "flux2": 5 + 20}


def _denoiser(name: str) -> nn.Module:
    import full_models

    with torch.device("meta"):
        if name.startswith("sd3"):
            layers = NUM_BLOCKS[name]
            return full_models._sd3_transformer(layers=layers, qk_norm=None)  # type: ignore[no-any-return]
        if name == "flux":
            return full_models.FluxTransformer2DModel(guidance_embeds=True)  # type: ignore[no-any-return]
        if name == "flux2":
            return full_models._klein_transformer()  # type: ignore[no-any-return]
        return getattr(full_models, f"_{name}_unet")()  # type: ignore[no-any-return]


def _sizes(denoiser: nn.Module, units: dict[str, nn.Module]) -> tuple[list[int], int]:
    """Weights that each unit gathers by itself, and those left to the root."""
    taken: set[torch.Tensor] = set()
    sizes = []
    for unit in units.values():
        own = set(unit.parameters()) - taken
        sizes.append(sum(weight.numel() for weight in own))
        taken |= own
    return sizes, sum(w.numel() for w in denoiser.parameters() if w not in taken)


@pytest.mark.parametrize("name", SIZED)
def test_units_of_a_full_size_denoiser_are_its_blocks_and_hold_nearly_all_of_it(name: str) -> None:
    denoiser = _denoiser(name).requires_grad_(False)
    units = shard_units(denoiser)
    kinds = Counter(type(unit).__name__ for unit in units.values())
    assert set(kinds) == SIZED[name]
    if name in NUM_BLOCKS:
        assert len(units) == NUM_BLOCKS[name]
    sizes, left = _sizes(denoiser, units)
    total = sum(sizes) + left
    assert min(sizes) > 0
    assert left < 0.06 * total
    # What one call has to gather beside the root is small.
    assert max(sizes) < 0.08 * total


def test_a_block_around_others_comes_after_them() -> None:
    units = list(shard_units(_denoiser("sd2")))
    for number, name in enumerate(units):
        assert not any(inner.startswith(f"{name}.") for inner in units[number:])


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_adapters_are_in_no_unit_and_no_unit_is_empty(name: str, tmp_path: Path) -> None:
    BUILDERS[name](tmp_path / name)
    backbone = load_built(name, tmp_path / name)
    denoiser = backbone.denoiser
    add_fresh_lora(denoiser, rank=2, alpha=2.0, targets=backbone.traits.lora_targets, seed=0)
    kept = {weight for weight in denoiser.parameters() if weight.requires_grad}
    units = shard_units(denoiser, kept=kept)
    assert units
    sizes, _ = _sizes(denoiser, units)
    assert min(sizes) > 0
    assert not any(isinstance(unit, nn.ModuleList | nn.Dropout) for unit in units.values())


def test_a_unit_of_adapters_alone_is_none() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

    class Network(nn.Module):
        _no_split_modules = ("Block",)

        def __init__(self) -> None:
            super().__init__()
            self.frozen, self.trained = Block(), Block()

    network = Network()
    assert list(shard_units(network, kept=set(network.trained.parameters()))) == ["frozen"]
