"""Which layers of a denoiser compute in 8 bits, by what that does to tiles of a calibration picture.

The picture comes with the package or is named in the settings. None of a run's own pictures is looked at: what one image comes out as
may depend neither on those beside it nor on which of them came first.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from hypir_cli.config.presets import PRESET_DIR
from hypir_cli.config.restore import TileConfig
from hypir_cli.images import ImageData, read_image
from hypir_cli.models.allocator import return_freed_memory
from hypir_cli.models.backbones.base import Backbone
from hypir_cli.models.int8 import Int8Choice, Int8Probe, probing, put_layers
from hypir_cli.models.load import LoadedModel
from hypir_cli.models.prompt_cache import PromptCache
from hypir_cli.pixels.metrics.fidelity import psnr
from hypir_cli.pixels.tiling import TilePlan
from hypir_cli.restore.limits import choose_limits
from hypir_cli.restore.restorer import Restorer
from hypir_cli.restore.streaming import InputWindows
from hypir_cli.restore.tile_pass import Request, TilePass
from hypir_cli.restore.times import StageTimes

LEAST_PSNR = 40.0
"""Of the restored tiles in 8 bits against those in float32, in dB: below, layers go back until it is reached."""
MOST_TILES = 2
"""Tiles that are looked at, from the beginning and the middle of the picture."""

BUILT_IN = "the built-in picture"
"""What the picture of the package is called."""

logger = logging.getLogger(__name__)


def calibration_picture(own: Path | None) -> tuple[ImageData, str]:
    """The picture that layers are chosen by, and what it is called: the user's own, or two photographs of the package side by side.

    Raises:
        InputError: The user's own cannot be read.
    """
    if own is None:
        return read_image(PRESET_DIR / "calibration" / "photographs.jpg"), BUILT_IN
    return read_image(own), own.name


def calibrated(model: LoadedModel, *, own: Path | None, prompts: PromptCache) -> LoadedModel:
    """A placed model with its denoisers brought to 8 bits, in place, as far as the calibration picture allows.

    It is restored without a prompt and with no control, so that one model has one choice, whatever it is used for.

    Args:
        model: Its denoiser waits for that (`wants_int8`).
        own: The user's own picture; None takes the package's.
        prompts: Conditioning of prompts.

    Raises:
        InputError: The user's own picture cannot be read.
    """
    image, name = calibration_picture(own)
    size = (image.height, image.width)
    source = InputWindows(image.pixels, out_size=size)
    limits = choose_limits(model.backbone, TileConfig())
    choices = []
    for part in (model, model.nearer):
        if part is None:
            continue
        traits = part.backbone.traits
        request = Request(
            prompt=prompts.get([""]),
            timestep=traits.timestep,
            coeff_timestep=traits.coeff_timestep,
        )
        plan = Restorer(part.backbone, limits=limits).plan(*size)
        choice = calibrate_int8(part.backbone, source, plan, request=request, picture=name)
        choices.append(choice)
    # The weights that 8 bits replaced.
    return_freed_memory()
    return replace(model, wants_int8=False, int8=tuple(choices))


@torch.inference_mode()
def calibrate_int8(
    backbone: Backbone,
    source: InputWindows,
    plan: TilePlan,
    *,
    request: Request,
    picture: str = BUILT_IN,
    least_psnr: float = LEAST_PSNR,
) -> Int8Choice:
    """Let as many layers of the denoiser compute in 8 bits as the quality gate allows, in place.

    The layers that err most on the tiles, each by itself, go back first, as many as it takes.

    Args:
        backbone: On a CPU, its denoiser not yet quantised.
        source: The calibration picture.
        plan: Its tiles.
        request: What it is restored with.
        picture: What it is called in messages.
        least_psnr: Of the tiles against float32, dB.
    """
    gate = _Gate(backbone, source, plan, request=request, picture=picture, least_psnr=least_psnr)
    with ExitStack() as undo:
        # Also after an interruption or too little memory the network is a whole one.
        undo.callback(gate.put, len(gate.order))
        choice = gate.choose(_fewest_exact(gate, least_psnr))
        undo.pop_all()
    return choice


def _fewest_exact(gate: _Gate, least_psnr: float) -> int:
    """The smallest number of exact layers that is enough: doubled until it is, then halved in between."""
    low, high = -1, 0
    while gate.psnr(high) < least_psnr:
        low, high = high, min(len(gate.order), max(1, 2 * high))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if gate.psnr(middle) >= least_psnr else (middle, high)
    return high


class _Gate:
    """The picture's tiles in float32, and how far they are from those with some layers in 8 bits."""

    def __init__(
        self,
        backbone: Backbone,
        source: InputWindows,
        plan: TilePlan,
        *,
        request: Request,
        picture: str,
        least_psnr: float,
    ) -> None:
        self._backbone = backbone
        self._picture, self._least_psnr = picture, least_psnr
        self._pass = TilePass(
            backbone=backbone, source=source, plan=plan, request=request, times=StageTimes()
        )
        corners = _corners(plan)
        self._latents = [self._pass.encode(self._pass.images([at]), [at]) for at in corners]
        probe, denoiser = Int8Probe(), backbone.denoiser
        narrow = backbone.dtype != torch.float32
        in_float32 = backbone.in_float32("denoiser") if narrow else nullcontext()
        with in_float32, probing(denoiser, probe):
            self._wanted = self._results()
        self._probe = probe
        self.order = probe.worst_first()
        self._exact = put_layers(denoiser, probe.layers)
        self._psnr: dict[int, float] = {}

    def psnr(self, exact: int) -> float:
        """How near the tiles are with that many of the worst layers exact, dB."""
        if exact == len(self.order):
            self._psnr[exact] = math.inf
        if exact not in self._psnr:
            self.put(exact)
            self._psnr[exact] = self._distance(self._results())
            logger.debug("%d layers exact: %.1f dB", exact, self._psnr[exact])
        return self._psnr[exact]

    def choose(self, exact: int) -> Int8Choice:
        """Leave the network with that many layers exact."""
        self.put(exact)
        return Int8Choice(
            layers=len(self.order) - exact,
            exact=tuple(self.order[:exact]),
            psnr=self._psnr[exact],
            tiles=len(self._latents),
            picture=self._picture,
            least_psnr=self._least_psnr,
        )

    def put(self, exact: int) -> None:
        """Put that many of the worst layers, exact, and the others in 8 bits into the network."""
        layers: dict[str, nn.Module] = {path: self._exact[path] for path in self.order[:exact]}
        layers |= {path: self._probe.layers[path] for path in self.order[exact:]}
        put_layers(self._backbone.denoiser, layers)

    def _results(self) -> list[Tensor]:
        return [self._pass.decode(self._pass.denoise(latents)) for latents in self._latents]

    def _distance(self, results: Sequence[Tensor]) -> float:
        """PSNR over all tiles, dB."""
        pairs = zip(results, self._wanted, strict=True)
        values = [psnr(one.clamp(0, 1), other.clamp(0, 1)) for one, other in pairs]
        return float(-10.0 * torch.log10((10.0 ** (-torch.cat(values) / 10.0)).mean()))


def _corners(plan: TilePlan) -> list[tuple[int, int]]:
    every = [(top, left) for top in plan.rows.starts for left in plan.columns.starts]
    step = max(1, len(every) // MOST_TILES)
    return every[::step][:MOST_TILES]
