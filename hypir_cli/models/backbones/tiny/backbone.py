"""`tiny`: the small backbone whose weights come with the package, so that restoring needs no download.

Its parts are those of a latent-diffusion model in diffusers layout, each in plain torch: an autoencoder (factor 4), a local
U-Net that predicts a flow velocity, a text encoder. See `hypir_cli/weights/tiny/README.md` for what the weights can do.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from hypir_cli.errors import BackboneError, ConfigError
from hypir_cli.models.backbones.base import Backbone, BackboneTraits, PromptEmbeds
from hypir_cli.models.backbones.tiny.text import TinyTextConfig, TinyTextEncoder
from hypir_cli.models.backbones.tiny.unet import TinyUNet, TinyUNetConfig
from hypir_cli.models.backbones.tiny.vae import TinyVAE, TinyVAEConfig
from hypir_cli.models.checkpoint import (
    CheckpointInfo,
    load_tensors,
    require_tensors,
    save_tensors,
)
from hypir_cli.models.execution import compute_dtype, module_device, use_channels_last
from hypir_cli.pixels.texture import TexturePredictor

TIMESTEP = 200
LORA_TARGETS = ("conv_in", "conv1", "conv2", "conv_out", "to_q", "to_k", "to_v", "to_out.0")
VAE_FILE = "vae/diffusion_pytorch_model.safetensors"
UNET_FILE = "unet/diffusion_pytorch_model.safetensors"
TEXT_FILE = "text_encoder/model.safetensors"
BYTES_PER_PIXEL = 800
"""Activations in float32 per pixel of a tile, measured (400 to 600) and rounded up."""
CONTROL_FILE = "control.safetensors"
PREDICTOR_FILE = "texture_predictor.safetensors"
TOKENIZER_FILE = "tokenizer/tokenizer.json"

Config = TypeVar("Config", TinyVAEConfig, TinyUNetConfig, TinyTextConfig)


class TinyBackbone(Backbone):
    """The embedded backbone.

    Args:
        vae: Its autoencoder.
        unet: Its denoiser.
        text_encoder: Its text encoder.
        tokenizer: Turns prompts into padded ids for the text encoder.
    """

    denoiser: TinyUNet

    def __init__(
        self,
        *,
        vae: TinyVAE,
        unet: TinyUNet,
        text_encoder: TinyTextEncoder,
        tokenizer: Tokenizer,
    ) -> None:
        self.denoiser = unet
        self._vae = vae
        self._text_encoder: TinyTextEncoder | None = text_encoder
        self._tokenizer = tokenizer
        scales = len(unet.config.channels)
        self.traits = BackboneTraits(
            name="tiny",
            prediction="flow",
            spatial_factor=vae.config.patch,
            latent_channels=vae.config.latent_channels,
            native_tile=512,
            tile_multiple=vae.config.patch * 2 ** (scales - 1),
            lora_targets=LORA_TARGETS,
            timestep=TIMESTEP,
            coeff_timestep=TIMESTEP,
            uses_prompt=unet.config.uses_prompt,
            trained_as_one=True,
        )

    @classmethod
    def load(
        cls,
        base: str | Path | None = None,
        *,
        revision: str | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        vae: str = "default",
    ) -> TinyBackbone:
        """The backbone in a folder.

        Args:
            base: Folder in the layout of `save`; None takes the weights that come with the package.
            revision: Must be None: there is no hub repository.
            device: Where to compute.
            dtype: What to compute in; the autoencoder's and the denoiser's.
            vae: Must be `default`: its latents are its own.

        Raises:
            ConfigError: A revision or another VAE is given.
            BackboneError: A file is missing.
            CheckpointError: A file is damaged or does not fit its configuration.
        """
        if revision is not None:
            raise ConfigError(
                f"the backbone tiny is not on the hub, so it has no revision {revision!r}.",
                hint="drop --revision",
            )
        if vae != "default":
            raise ConfigError(
                f"the backbone tiny has its own VAE, so it cannot use {vae!r}.", hint="drop --vae"
            )
        if base is None:
            with resources.as_file(resources.files("hypir_cli") / "weights" / "tiny") as folder:
                return cls.load(folder, device=device, dtype=dtype)
        path = Path(base)
        autoencoder = TinyVAE(_config(TinyVAEConfig, path / "vae"))
        unet = TinyUNet(_config(TinyUNetConfig, path / "unet"))
        text_encoder = TinyTextEncoder(_config(TinyTextConfig, path / "text_encoder"))
        _fill(autoencoder, path / VAE_FILE)
        _fill(unet, path / UNET_FILE)
        _fill(text_encoder, path / TEXT_FILE)
        backbone = cls(
            vae=_placed(autoencoder, device, dtype),
            unet=_placed(unet, device, dtype),
            text_encoder=_placed(text_encoder, device, torch.float32),
            tokenizer=load_tokenizer(path / TOKENIZER_FILE),
        )
        if (path / CONTROL_FILE).exists():
            _fill(backbone.enable_controls().requires_grad_(False), path / CONTROL_FILE)
        if (path / PREDICTOR_FILE).exists():
            predictor, _ = load_tensors(path / PREDICTOR_FILE)
            backbone.texture_predictor = TexturePredictor.from_tensors(predictor)
        return backbone

    def save(self, folder: Path, *, dtype: torch.dtype = torch.float16) -> None:
        """Write weights, configurations and tokenizer in the layout that `load` reads.

        Raises:
            CheckpointError: The folder cannot be written.
            BackboneError: The text encoder was released.
        """
        modules: list[tuple[nn.Module, str]] = [
            (self._vae, VAE_FILE),
            (self.denoiser, UNET_FILE),
            (self._text(), TEXT_FILE),
        ]
        if self.control_embedding is not None:
            modules.append((self.control_embedding, CONTROL_FILE))
        info = CheckpointInfo(
            kind="backbone",
            backbone=self.traits.name,
            timestep=self.traits.timestep,
            coeff_timestep=self.traits.coeff_timestep,
            texture=self.control_embedding is not None,
            generativity=self.control_embedding is not None,
        )
        for module, name in modules:
            tensors = {key: value.to(dtype) for key, value in module.state_dict().items()}
            save_tensors(folder / name, tensors, info=info)
            config = getattr(module, "config", None)
            if config is not None:
                _write_config(config, (folder / name).parent, kind=type(module).__name__)
        if self.texture_predictor is not None:
            save_tensors(folder / PREDICTOR_FILE, self.texture_predictor.state_dict(), info=info)
        (folder / TOKENIZER_FILE).parent.mkdir(parents=True, exist_ok=True)
        self._tokenizer.save(str(folder / TOKENIZER_FILE))

    def with_vae(self, vae: TinyVAE) -> TinyBackbone:
        """This backbone with another autoencoder, whose latents the denoiser has to know."""
        changed = TinyBackbone(
            vae=vae,
            unet=self.denoiser,
            text_encoder=self._text(),
            tokenizer=self._tokenizer,
        )
        changed.control_embedding = self.control_embedding
        changed.texture_predictor = self.texture_predictor
        return changed

    def components(self) -> Mapping[str, nn.Module]:
        """The live modules by name."""
        found: dict[str, nn.Module] = {"vae": self._vae, "denoiser": self.denoiser}
        if self._text_encoder is not None:
            found["text_encoder"] = self._text_encoder
        return found

    def encoder_module(self) -> nn.Module:
        """The autoencoder's half that maps pixels to latent moments."""
        return self._vae.encoder

    def encode(self, images: Tensor, *, noise: Tensor | None = None) -> Tensor:
        """Latents (B, C, H / 4, W / 4) of images (B, 3, H, W) in 0..1."""
        device = module_device(self._vae)
        pixels = (2.0 * images - 1.0).to(device, compute_dtype(self._vae))
        mean, log_variance = self._vae.encode(pixels)
        if noise is None:
            return mean.float()
        return mean.float() + (0.5 * log_variance.float()).exp() * noise.to(device)

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, 3, H, W) around 0..1 of latents."""
        latents = latents.to(module_device(self._vae), compute_dtype(self._vae))
        pixels = self._vae.decode(latents)
        return (pixels.float() + 1.0) / 2.0

    def encode_prompts(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Token embeddings (B, 77, D); those of the empty prompt while the weights know no other."""
        encoder = self._text()
        known = list(prompts) if self.traits.uses_prompt else [""] * len(prompts)
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch(known)]
        with torch.no_grad():
            ids = torch.tensor(rows, device=module_device(encoder))
            return PromptEmbeds(sequence=encoder(ids).float())

    def token_overflow(self, prompt: str) -> str:
        """The end of a prompt that does not fit 77 tokens."""
        encoding = self._tokenizer.encode(prompt)
        if not encoding.overflowing:
            return ""
        last = max(end for _, end in encoding.offsets)
        return prompt[last:].strip()

    def release_text_encoders(self) -> None:
        """Drop the text encoder."""
        self._text_encoder = None

    def call_denoiser(
        self, latents: Tensor, prompt: PromptEmbeds, timestep: Tensor, control: Tensor | None
    ) -> Tensor:
        """Flow velocity (B, C, h, w) of latents whose sides are multiples of 2^(scales - 1)."""
        velocity: Tensor = self.denoiser(
            latents.to(device=self.device, dtype=self.dtype),
            timestep.to(self.device).expand(len(latents)),
            prompt.sequence.to(device=self.device, dtype=self.dtype),
            control,
        )
        return velocity

    def alpha_or_sigma(self, timestep: Tensor) -> Tensor:
        """Share of noise at a timestep: timestep / 1000."""
        return timestep.float() / self.traits.num_train_timesteps

    def control_dim(self) -> int:
        """Length of the vector that is added to the timestep embedding."""
        return self.denoiser.config.embedding_dim

    def activation_bytes(self, tile: int) -> int:
        """Peak bytes of activations of one tile: nothing here is as wide as an 8-fold VAE at full size."""
        return tile * tile * BYTES_PER_PIXEL * self.dtype.itemsize // torch.float32.itemsize

    def _text(self) -> TinyTextEncoder:
        if self._text_encoder is None:
            raise BackboneError("the text encoder of tiny was released; encode prompts before.")
        return self._text_encoder


def load_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer from its JSON file.

    Raises:
        BackboneError: There is no such file.
    """
    if not path.is_file():
        raise _missing(path)
    return Tokenizer.from_file(str(path))


def _config(cls: type[Config], folder: Path) -> Config:
    path = folder / "config.json"
    if not path.is_file():
        raise _missing(path)
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    known = {field.name for field in dataclasses.fields(cls)}
    kept: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in values.items()
        if key in known
    }
    return cls(**kept)


def _write_config(config: Any, folder: Path, *, kind: str) -> None:
    values = {"_class_name": kind, **dataclasses.asdict(config)}
    (folder / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _fill(module: nn.Module, path: Path) -> None:
    if not path.is_file():
        raise _missing(path)
    tensors, _ = load_tensors(path)
    require_tensors(tensors, module.state_dict(), source=str(path), target="config.json")
    module.load_state_dict(tensors)


def _missing(path: Path) -> BackboneError:
    return BackboneError(
        f"the tiny backbone lacks {path}.",
        hint="give a folder with vae/, unet/, text_encoder/ and tokenizer/, or reinstall hypir",
    )


Module = TypeVar("Module", bound=nn.Module)


def _placed(module: Module, device: torch.device | str, dtype: torch.dtype) -> Module:
    placed = module.to(device=device, dtype=dtype).eval().requires_grad_(False)
    use_channels_last(placed, device=torch.device(device))
    return placed
