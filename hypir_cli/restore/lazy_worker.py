"""`hypir restore`'s work on a single image, for lists that are too long to look at beforehand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hypir_cli.config.restore import PromptConfig, RestoreConfig
from hypir_cli.folder import RestoreOne
from hypir_cli.folder.worker import ImageWorker, RunSettings
from hypir_cli.restore.engine import Engine
from hypir_cli.restore.folder import Worker, load_new_engine, run_settings
from hypir_cli.restore.prompts import Describe, wants_model
from hypir_cli.restore.restorer import Progress

LoadDescriber = Callable[[PromptConfig, str], Describe]
"""Makes the captioning model that prompt settings name, on a device."""


class LazyWorker(ImageWorker):
    """Loads the model when the first image needs it, so that a rerun with nothing to do loads none.

    Args:
        config: All settings.
        load_describer: Makes the captioning model, where prompts are to come from one.
        on_tiles: Told (tiles done, tiles in all) of the image at work.
        on_ready: Gets the engine once it is loaded.
    """

    def __init__(
        self,
        config: RestoreConfig,
        *,
        load_describer: LoadDescriber | None = None,
        on_tiles: Progress | None = None,
        on_ready: Callable[[Engine], None] = lambda engine: None,
    ) -> None:
        self._config = config
        self._load_describer = load_describer
        self._on_tiles = on_tiles
        self._on_ready = on_ready
        self._worker: Worker | None = None

    @property
    def settings(self) -> RunSettings:
        """What a run needs to know."""
        return run_settings(self._config)

    def load(self) -> RestoreOne:
        """What restores an image; the model is loaded when this returns, once.

        Raises:
            HypirError: A model cannot be loaded.
            ValueError: Prompts are to come from a captioning model, but there is no `load_describer`.
        """
        if self._worker is None:
            describe, prompt = None, self._config.prompt
            if self._load_describer is not None and wants_model(prompt):
                describe = self._load_describer(prompt, self._config.runtime.device)
            self._worker = Worker(
                self._config,
                None,
                describe=describe,
                on_tiles=self._on_tiles,
                load_engine=load_new_engine,
            )
            self._on_ready(self._worker.engine)
        return self._worker.restore

    def elsewhere(self) -> Callable[[], LazyWorker]:
        """Makes this worker anew in another process, where nobody listens; can be pickled."""
        return partial(LazyWorker, self._config, load_describer=self._load_describer)
