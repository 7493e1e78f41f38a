"""`hypir restore`'s work on a single image, for lists that are too long to look at beforehand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hypir_cli.config.restore import RestoreConfig
from hypir_cli.folder import RestoreOne
from hypir_cli.folder.events import Progress
from hypir_cli.folder.worker import ImageWorker, RunSettings
from hypir_cli.restore.engine import Engine
from hypir_cli.restore.folder import Worker, run_settings
from hypir_cli.restore.prompts import LoadDescriber


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
            self._worker = Worker(
                self._config,
                None,
                load_describer=self._load_describer,
                on_tiles=self._on_tiles,
                load_engine=Engine.load,
            )
            self._on_ready(self._worker.engine)
        return self._worker.restore

    def elsewhere(self) -> Callable[[], LazyWorker]:
        """Makes this worker anew in another process, where nobody listens; can be pickled."""
        return partial(LazyWorker, self._config, load_describer=self._load_describer)
