"""What training each backbone takes: the real step, run without weights or arithmetic, its tensors counted.

Every network is built at its published size under `FakeTensorMode`, gets adapters, and goes through one update with the release's
discriminator (ConvNeXt-XXL) and a VGG16 perceptual loss. Counted are frozen weights (bf16), trained weights with AdamW's two moments
and the average (fp32), and the peak of everything else, gradients included. Text encoders are gone: prompts are encoded before.
Kernel workspaces and fragmentation come on top; allow 10%.

    python benchmarks/train_memory.py [--backbones sd2 sdxl] [--ranks 64 256] [--sides 512 1024]
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from full_models import build_full, random_prompt
from peak_memory import PeakMemory
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import ConvNextConfig, ConvNextModel

from hypir_cli.config.adversarial import DiscriminatorConfig
from hypir_cli.config.train import TrainGanConfig, train_config
from hypir_cli.models.backbones.base import Backbone, PromptEmbeds
from hypir_cli.models.checkpoint import CheckpointInfo
from hypir_cli.models.lora import add_fresh_lora
from hypir_cli.models.perceptual import vgg
from hypir_cli.models.perceptual.distances import FeatureDistance
from hypir_cli.models.perceptual.trunks import StagedTrunk
from hypir_cli.models.prompt_cache import PromptCache
from hypir_cli.train.data.keys import SampleKey
from hypir_cli.train.gan import GanStage
from hypir_cli.train.generator import GanModels
from hypir_cli.train.networks.discriminator import Discriminator
from hypir_cli.train.runtime import Runtime
from hypir_cli.train.stage import Pairs

CARDS = (24, 48, 80)
_GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Memory of one setting, in GiB."""

    frozen: float
    """Weights that do not train."""
    trained: float
    """Trained weights, moments, average."""
    step: float
    """Most that one update holds besides, gradients included."""

    @property
    def total(self) -> float:
        """All together."""
        return self.frozen + self.trained + self.step


class FixedPrompts(PromptCache):
    """The same random conditioning for every prompt."""

    def __init__(self, embeds: PromptEmbeds) -> None:
        self._fixed = embeds

    def get(self, prompts: object) -> PromptEmbeds:
        """The one conditioning there is."""
        return self._fixed


class BFloat16Runtime(Runtime):
    """One process computing in bf16."""

    def __init__(self) -> None:
        self.rank, self.world_size, self.precision = 0, 1, "bf16"
        self.device = torch.device("cpu")


def estimate(name: str, *, rank: int, side: int, checkpointing: bool, batch: int = 1) -> Estimate:
    """Memory of training a backbone at full size."""
    backbone, discriminator, network = _on_meta(name, rank=rank)
    with FakeTensorMode(allow_non_fake_inputs=True), quiet():
        for module in (*backbone.components().values(), discriminator, network):
            _materialise(module)
        if hasattr(backbone, "_alphas_cumprod"):
            backbone._alphas_cumprod = torch.rand(1000)
        if checkpointing:
            backbone.enable_gradient_checkpointing()
        stage = _stage(backbone, discriminator, network, name=name, batch=batch)
        trained = sum(p.numel() * 4 for group in stage.groups for p in group.parameters)
        averaged = sum(value.numel() * 4 for value in stage.ema.shadow)
        parts = [*backbone.components().values(), discriminator.trunk, network]
        frozen = sum(
            p.numel() * p.element_size()
            for m in parts
            for p in m.parameters()
            if not p.requires_grad
        )
        with PeakMemory() as memory:
            stage.accumulate(_pairs(side, batch), scale=1.0)
    return Estimate(
        frozen=frozen / _GIB, trained=(3 * trained + averaged) / _GIB, step=memory.peak / _GIB
    )


def _on_meta(name: str, *, rank: int) -> tuple[Backbone, Discriminator, nn.Module]:
    """The networks with adapters, as shapes: frozen ones in bf16, trained ones in fp32."""
    with torch.device("meta"):
        torch.set_default_dtype(torch.bfloat16)
        try:
            backbone = build_full(name)
            trunk = _convnext_xxlarge()
            network = vgg.Vgg16(blurred_pooling=False).requires_grad_(False)
        finally:
            torch.set_default_dtype(torch.float32)
        backbone.release_text_encoders()
        targets = backbone.traits.lora_targets
        add_fresh_lora(backbone.denoiser, rank=rank, alpha=float(rank), targets=targets, seed=0)
        return backbone, Discriminator(trunk, config=DiscriminatorConfig()), network


def _materialise(module: nn.Module) -> None:
    """Give the module tensors of the mode in force instead of those on the meta device."""
    for part in module.modules():
        for name, value in part.named_parameters(recurse=False):
            fresh = torch.empty(value.shape, dtype=value.dtype)
            setattr(part, name, nn.Parameter(fresh, requires_grad=value.requires_grad))
        for name, value in part.named_buffers(recurse=False):
            setattr(part, name, torch.empty(value.shape, dtype=value.dtype))


def _stage(
    backbone: Backbone, discriminator: Discriminator, network: nn.Module, *, name: str, batch: int
) -> GanStage:
    config = train_config(TrainGanConfig, [("table", {"preset": "sd2"})], command="gan")
    models = GanModels(
        backbone=backbone,
        discriminator=discriminator,
        perceptual=FeatureDistance(network, prepare=vgg.lpips_input),
        prompts=FixedPrompts(random_prompt(name, batch=batch)),
        predictor=None,
    )
    info = CheckpointInfo(backbone=name)
    return GanStage(models, config=config, info=info, runtime=BFloat16Runtime())


def _convnext_xxlarge() -> StagedTrunk:
    config = ConvNextConfig(
        hidden_sizes=[384, 768, 1536, 3072], depths=[3, 4, 30, 3], layer_scale_init_value=0.0
    )
    return StagedTrunk(
        ConvNextModel(config),
        stages=tuple(f"encoder.stages.{index}" for index in range(3)),
        channels=(384, 768, 1536),
        pooled=lambda output: output.pooler_output,
        pooled_dim=3072,
    )


def _pairs(side: int, batch: int) -> Pairs:
    return Pairs(
        lq=torch.rand(batch, 3, side, side),
        gt=torch.rand(batch, 3, side, side),
        prompts=("",) * batch,
        keys=tuple(SampleKey(0, 0, number) for number in range(batch)),
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings about what fake tensors cannot do."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", nargs="+", default=["sd2", "sdxl", "sd3", "sd35", "flux"])
    parser.add_argument("--ranks", nargs="+", type=int, default=[64, 256])
    parser.add_argument("--sides", nargs="+", type=int, default=[512, 1024])
    parser.add_argument("--batch", type=int, default=1)
    arguments = parser.parse_args()
    print("| backbone | rank | side | checkpointing | frozen | trained | step | GiB | fits in GB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in arguments.backbones:
        for rank in arguments.ranks:
            for side in arguments.sides:
                for checkpointing in (False, True):
                    found = estimate(
                        name,
                        rank=rank,
                        side=side,
                        checkpointing=checkpointing,
                        batch=arguments.batch,
                    )
                    cards = [str(card) for card in CARDS if found.total * 1.1 < card]
                    print(
                        f"| {name} | {rank} | {side} | {'yes' if checkpointing else 'no'} | "
                        f"{found.frozen:.1f} | {found.trained:.1f} | {found.step:.1f} | "
                        f"{found.total:.1f} | {', '.join(cards) or 'none'} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
