"""A manifest restored by actors of a Ray cluster, each with one loaded model.

Ray Data streams shard numbers to a pool of actors and what became of them back; images go from the store to an actor and from
there to the store. An actor that dies is replaced, and its shard is taken up where the results say it ended.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from hypir_cli.config.restore import RestoreConfig
from hypir_cli.errors import ConfigError, HypirError, as_hypir_error
from hypir_cli.folder.manifest import Manifest
from hypir_cli.folder.report import Record
from hypir_cli.folder.shard_state import ShardResult
from hypir_cli.restore.shard import LazyWorker, LoadDescriber, broken_shard, restore_shard

OBJECT_STORE_BYTES = 100 * 2**20
"""Object store of a cluster started here: shard numbers and results' counts pass through it, no pixels."""


def ray_results(
    manifest: Manifest,
    shards: Sequence[int],
    *,
    config: RestoreConfig,
    load_describer: LoadDescriber | None,
) -> Iterator[ShardResult]:
    """What became of each shard, as they end.

    Args:
        manifest: The list; every machine of the cluster must be able to read it where it is.
        shards: Numbers of the shards to restore.
        config: All settings.
        load_describer: Makes the captioning model on an actor; None where prompts need none.

    Raises:
        ConfigError: Ray is missing, or the cluster cannot be reached or is too small.
    """
    if not shards:
        return
    ray = _ray()
    cluster = config.cluster
    ray_cpus = _connect(ray, config)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        blocks = ray.data.from_items(
            [{"shard": shard} for shard in shards], override_num_blocks=len(shards)
        )
        results = blocks.map_batches(
            ShardActor,
            fn_constructor_kwargs={
                "place": manifest.place,
                "config": config,
                "load_describer": load_describer,
            },
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(cluster.actors, len(shards))),
            num_gpus=cluster.gpus_per_actor or None,
            num_cpus=ray_cpus,
            # An actor that is lost is started again, and its shard with it, as often as it takes.
            max_restarts=-1,
            max_task_retries=-1,
        )
        for row in results.iter_rows():
            yield _unpacked(json.loads(row["result"]))
    finally:
        ray.shutdown()


class ShardActor:
    """One loaded model on the cluster.

    Args:
        place: The manifest's path or URL.
        config: All settings.
        load_describer: Makes the captioning model.
    """

    def __init__(
        self, place: str, config: RestoreConfig, load_describer: LoadDescriber | None
    ) -> None:
        self._manifest = Manifest(place)
        self._worker = LazyWorker(config, load_describer=load_describer)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """What became of the shards of a batch, as JSON."""
        return {"result": [json.dumps(self._restore(int(shard))) for shard in batch["shard"]]}

    def _restore(self, shard: int) -> dict[str, Any]:
        try:
            return asdict(restore_shard(self._manifest, shard, worker=self._worker))
        except HypirError as error:
            return asdict(broken_shard(self._manifest, shard, error))
        except Exception as error:
            logging.getLogger(__name__).debug("shard %d failed", shard, exc_info=error)
            subject = f"shard {shard}"
            known = as_hypir_error(error, subject=subject)
            return asdict(broken_shard(self._manifest, shard, known))


def _unpacked(content: dict[str, Any]) -> ShardResult:
    failed = tuple(Record(**record) for record in content.pop("failed"))
    return ShardResult(**content, failed=failed)


def _connect(ray: Any, config: RestoreConfig) -> float:
    """Join or start a cluster; the CPUs that each actor shall have."""
    cluster = config.cluster
    if not ray.is_initialized():
        # Ray's own words go to its log files; ours are printed by the command line.
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        if cluster.ray_address is None:
            options |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
        try:
            ray.init(address=cluster.ray_address, **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(
                f"no Ray cluster can be reached at {cluster.ray_address or 'this machine'}: {error}",
                hint="check --ray-address; leave it out to start one here",
            ) from error
    total = ray.cluster_resources()
    cpus = cluster.cpus_per_actor or _share(
        cluster.gpus_per_actor, cluster.ray_address, cluster.actors
    )
    wanted = {"CPU": cpus * cluster.actors, "GPU": cluster.gpus_per_actor * cluster.actors}
    for name, amount in wanted.items():
        if amount > total.get(name, 0.0) and cluster.ray_address is None:
            raise ConfigError(
                f"{cluster.actors} actors need {amount:g} {name}s, and this machine has "
                f"{total.get(name, 0.0):g}.",
                hint="lower --actors, --cpus-per-actor or --gpus-per-actor, or name a --ray-address",
            )
    return cpus


def _share(gpus: float, address: str | None, actors: int) -> float:
    if gpus or address is not None:
        return 1.0
    return max((os.cpu_count() or 1) // actors, 1)


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Without it every run prints an alarm over how Ray Data itself makes its actors (ray issue 53727).
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError(
            "--engine ray needs the package ray.", hint="pip install 'hypir[ray]'"
        ) from error
    return ray
