"""A backbone of your own, whole: a class behind the contract and its record (CONTRIBUTING.md says how hypir finds it)."""

from pathlib import Path

import torch
from torch import nn

from hypir_cli.config.family import BackbonePreset, Family
from hypir_cli.errors import BackboneError
from hypir_cli.models.backbones.base import Backbone, BackboneTraits, PromptEmbeds

PRESET = BackbonePreset(licence="Do as you like.")
FAMILY = Family(name="pebble", backbone=f"{__name__}:Pebble", preset=PRESET)


class Pebble(Backbone):
    """One layer to encode, one to decode, two to denoise; the bytes of a prompt are its text."""

    def __init__(self):
        self.vae = nn.ModuleDict({"encoder": nn.Conv2d(3, 4, 4, 4), "decoder": nn.Conv2d(4, 48, 1)})
        self.denoiser = nn.ModuleDict(
            {"conv_in": nn.Conv2d(4, 32, 1), "conv_out": nn.Conv2d(32, 4, 1)}
        )
        self.text = {"text_encoder": nn.Embedding(256, 32)}
        self.traits = BackboneTraits(
            **{"name": "pebble", "prediction": "flow", "timestep": 200, "coeff_timestep": 200},
            **{"spatial_factor": 4, "latent_channels": 4, "native_tile": 64, "tile_multiple": 4},
            lora_targets=("conv_in", "conv_out"),
        )

    @classmethod
    def load(cls, base, *, revision, device, dtype, vae):
        backbone = cls()
        if base is not None:
            states = torch.load(Path(base) / "pebble.pt", weights_only=True)
            for name, module in backbone.components().items():
                module.load_state_dict(states[name])
        for module in backbone.components().values():
            module.to(device, dtype).eval().requires_grad_(False)
        return backbone

    def components(self):
        return {**self.text, "vae": self.vae, "denoiser": self.denoiser}

    def encoder_module(self):
        return self.vae["encoder"]

    def encode(self, images, *, noise=None):
        mean = self.vae["encoder"](images.to(self.device, self.dtype) * 2 - 1).float()
        return mean if noise is None else mean + 0.1 * noise.to(mean)

    def decode(self, latents):
        pixels = self.vae["decoder"](latents.to(self.device, self.dtype))
        return nn.functional.pixel_shuffle(pixels, 4).float() / 2 + 0.5

    def encode_prompts(self, prompts):
        if not self.text:
            raise BackboneError("the text encoder of pebble was released.")
        rows = [list(prompt.encode()[:77].ljust(77)) for prompt in prompts]
        return PromptEmbeds(sequence=self.text["text_encoder"](torch.tensor(rows)).float())

    def token_overflow(self, prompt):
        return prompt.encode()[77:].decode(errors="ignore")

    def release_text_encoders(self):
        self.text = {}

    def call_denoiser(self, latents, prompt, timestep, control):
        code = prompt.sequence.mean(dim=1) + timestep.reshape(-1, 1).to(self.device) / 1000
        code = (code if control is None else code + control).to(self.dtype)
        features = self.denoiser["conv_in"](latents.to(self.device, self.dtype))
        return self.denoiser["conv_out"](torch.relu(features + code[:, :, None, None]))

    def alpha_or_sigma(self, timestep):
        return timestep.float() / 1000

    def control_dim(self):
        return 32
