"""The text encoder of `tiny`: a small CLIP text transformer in plain torch.

Weights carry the names of `CLIPTextModel`, but this needs a twentieth of a second to import where that needs seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class TinyTextConfig:
    """Sizes of the text encoder, as in `text_encoder/config.json`."""

    vocab_size: int = 1024
    """Number of tokens."""
    hidden_size: int = 64
    """Length of a token embedding."""
    intermediate_size: int = 256
    """Width of the feed-forward layers."""
    num_hidden_layers: int = 2
    """Transformer layers."""
    num_attention_heads: int = 4
    """Heads of the self-attention."""
    max_position_embeddings: int = 77
    """Tokens of a padded prompt."""


class TinyTextAttention(nn.Module):
    """Causal self-attention."""

    def __init__(self, size: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(size, size)
        self.k_proj = nn.Linear(size, size)
        self.v_proj = nn.Linear(size, size)
        self.out_proj = nn.Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, size) to the same shape."""
        query, key, value = (
            projection(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        out: Tensor = self.out_proj(seen.transpose(1, 2).flatten(2))
        return out


class TinyTextLayer(nn.Module):
    """Attention and feed-forward, each after a norm and around a residual connection."""

    def __init__(self, config: TinyTextConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.layer_norm1 = nn.LayerNorm(size)
        self.self_attn = TinyTextAttention(size, heads=config.num_attention_heads)
        self.layer_norm2 = nn.LayerNorm(size)
        self.mlp = nn.ModuleDict(
            {
                "fc1": nn.Linear(size, config.intermediate_size),
                "fc2": nn.Linear(config.intermediate_size, size),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, size) to the same shape."""
        x = x + self.self_attn(self.layer_norm1(x))
        widened = functional.gelu(self.mlp["fc1"](self.layer_norm2(x)))
        added: Tensor = self.mlp["fc2"](widened)
        return x + added


class TinyTextEncoder(nn.Module):
    """Token ids to token embeddings.

    Args:
        config: Its sizes.
    """

    def __init__(self, config: TinyTextConfig) -> None:
        super().__init__()
        self.config = config
        size = config.hidden_size
        embeddings = {
            "token_embedding": nn.Embedding(config.vocab_size, size),
            "position_embedding": nn.Embedding(config.max_position_embeddings, size),
        }
        layers = nn.ModuleList(TinyTextLayer(config) for _ in range(config.num_hidden_layers))
        self.text_model = nn.ModuleDict(
            {
                "embeddings": nn.ModuleDict(embeddings),
                "encoder": nn.ModuleDict({"layers": layers}),
                "final_layer_norm": nn.LayerNorm(size),
            }
        )

    def forward(self, ids: Tensor) -> Tensor:
        """Last hidden state, (B, L, hidden_size), of token ids (B, L)."""
        parts = self.text_model
        tokens = parts.get_submodule("embeddings.token_embedding")(ids)
        places = torch.arange(ids.shape[1], device=ids.device)
        x: Tensor = tokens + parts.get_submodule("embeddings.position_embedding")(places)
        for layer in parts.get_submodule("encoder.layers").children():
            x = layer(x)
        normed: Tensor = parts["final_layer_norm"](x)
        return normed
