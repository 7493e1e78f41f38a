"""A manifest worked through by actors of a Ray cluster, each with one loaded model.

Ray Data streams shard numbers to a pool of actors and what became of them back; images go from the store to an actor and from
there to the store. An actor that dies is replaced, and its shard is taken up where the results say it ended.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from hypir_cli.config.extras import needing
from hypir_cli.config.scale import ClusterConfig
from hypir_cli.errors import ConfigError, HypirError, InputError, as_hypir_error
from hypir_cli.folder.manifest import Manifest
from hypir_cli.folder.report import Record
from hypir_cli.folder.shard_run import broken_shard, run_shard
from hypir_cli.folder.shard_state import ShardResult
from hypir_cli.folder.worker import ImageWorker

RETRIES = 10
"""How often a shard is taken up again after its actor was lost; then it counts as failed, so that one image that kills
whoever opens it does not hold up the run for ever."""
OBJECT_STORE_BYTES = 100 * 2**20
"""Object store of a cluster started here: shard numbers and results' counts pass through it, no pixels."""


def ray_results(
    manifest: Manifest,
    shards: Sequence[int],
    *,
    worker: ImageWorker,
) -> Iterator[ShardResult]:
    """What became of each shard, as they end.

    Args:
        manifest: The list; every machine of the cluster must be able to read it where it is.
        shards: Numbers of the shards to work through.
        worker: What the actors do to each image, and the settings.

    Raises:
        ConfigError: Ray is missing, or the cluster cannot be reached or is too small.
    """
    if not shards:
        return
    ray = _ray()
    cluster = worker.settings.cluster
    ray_cpus = _connect(ray, cluster)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.max_errored_blocks = -1  # a shard that is given up does not stop the others
        blocks = ray.data.from_items(
            [{"shard": shard} for shard in shards], override_num_blocks=len(shards)
        )
        results = blocks.map_batches(
            ShardActor,
            fn_constructor_kwargs={
                "place": manifest.place,
                "make_worker": worker.elsewhere(),
            },
            batch_size=1,
            # A shard is long work: none waits at one actor while another has nothing to do.
            compute=ray.data.ActorPoolStrategy(
                size=min(cluster.actors, len(shards)), max_tasks_in_flight_per_actor=1
            ),
            num_gpus=cluster.gpus_per_actor or None,
            num_cpus=ray_cpus,
            # An actor that is lost is started again, and its shard with it.
            max_restarts=-1,
            max_task_retries=RETRIES,
        )
        missing = set(shards)
        for row in results.iter_rows():
            result = _unpacked(json.loads(row["result"]))
            missing.discard(result.index)
            yield result
        for index in sorted(missing):
            yield broken_shard(manifest, index, _lost_with_its_actors())
    finally:
        ray.shutdown()


class ShardActor:
    """One loaded model on the cluster.

    Args:
        place: The manifest's path or URL.
        make_worker: Makes what is done to each image.
    """

    def __init__(self, place: str, make_worker: Callable[[], ImageWorker]) -> None:
        self._manifest = Manifest(place)
        self._make_worker = make_worker
        self._worker: ImageWorker | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """What became of the shards of a batch, as JSON."""
        return {"result": [json.dumps(self._run(int(shard))) for shard in batch["shard"]]}

    def _run(self, shard: int) -> dict[str, Any]:
        try:
            if self._worker is None:
                self._worker = self._make_worker()
            return asdict(run_shard(self._manifest, shard, worker=self._worker))
        except HypirError as error:
            return asdict(broken_shard(self._manifest, shard, error))
        except Exception as error:
            logging.getLogger(__name__).debug("shard %d failed", shard, exc_info=error)
            subject = f"shard {shard}"
            known = as_hypir_error(error, subject=subject)
            return asdict(broken_shard(self._manifest, shard, known))


def _lost_with_its_actors() -> InputError:
    return InputError(
        f"{RETRIES + 1} actors were lost while they worked on it (killed, or out of memory).",
        hint="restore its images one by one to find the cause; run again to take up what is missing",
    )


def _unpacked(content: dict[str, Any]) -> ShardResult:
    failed = tuple(Record(**record) for record in content.pop("failed"))
    return ShardResult(**content, failed=failed)


def _connect(ray: Any, cluster: ClusterConfig) -> float:
    """Join or start a cluster; the CPUs that each actor shall have."""
    if not ray.is_initialized():
        # Ray's own words go to its log files; ours are printed by the command line.
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
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
    with needing("--engine ray needs", extra="ray"):
        import ray
        import ray.data
    return ray
