"""Loaded models, kept from one piece of work to the next."""

from __future__ import annotations

from collections.abc import Sequence

from hypir_cli.config.restore import ModelConfig, RestoreConfig, RuntimeConfig
from hypir_cli.restore.engine import Engine


class EngineCache:
    """One loaded model: the last that was asked for."""

    def __init__(self) -> None:
        self._key: tuple[ModelConfig, RuntimeConfig] | None = None
        self._engine: Engine | None = None

    def load(self, config: RestoreConfig, prompts: Sequence[str] | None = None) -> Engine:
        """An engine for these settings; loads a model only where another one is wanted than last time.

        Args:
            config: All settings.
            prompts: Ignored: the text encoders stay loaded, since the next prompt is not known.

        Raises:
            HypirError: As `Engine.load`.
        """
        key = (config.model, config.runtime)
        if self._engine is None or key != self._key:
            self._engine = None  # the old one's memory first
            self._engine, self._key = Engine.load(config), key
        else:
            self._engine = Engine(self._engine.model, config=config)
        return self._engine
