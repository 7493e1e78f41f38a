"""The training loop: updates, logs, samples, validation, checkpoints, and a clean way out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path

import torch

from hypir_cli.config.run_dir import CONFIG_FILE, SAMPLE_DIR
from hypir_cli.config.schema import to_dict
from hypir_cli.config.train import RunConfig, resolved_yaml
from hypir_cli.errors import CheckpointError, HypirError, InputError
from hypir_cli.train.balance import Balance
from hypir_cli.train.data.prefetcher import Prefetcher
from hypir_cli.train.interrupts import stop_requests
from hypir_cli.train.monitor import Monitor
from hypir_cli.train.report import Observer, RunOutcome, StepReport, Window
from hypir_cli.train.resume import find_checkpoint
from hypir_cli.train.runtime import Runtime, WandbTracker
from hypir_cli.train.stage import Stage
from hypir_cli.train.state import (
    RunState,
    load_checkpoint,
    prune,
    save_checkpoint,
)
from hypir_cli.train.step import initial_state, make_optimizers, update
from hypir_cli.train.validation import Validation

_LOWER_IS_BETTER = ("perceptual",)


def run_training(
    stage: Stage,
    *,
    config: RunConfig,
    kind: str,
    runtime: Runtime,
    resume: str | None = None,
    observer: Observer | None = None,
) -> RunOutcome:
    """Train a stage to the end of its schedule.

    Args:
        stage: What is trained.
        config: Settings.
        kind: Name of the training command, `encoder` or `gan`.
        runtime: The processes.
        resume: None starts anew; `auto` goes on from the newest checkpoint of `output_dir`, if there is one; or the path
            of a checkpoint or of another run's folder.
        observer: Who is told.

    Raises:
        ConfigError: `output_dir` holds a run already and `resume` is None.
        CheckpointError: A checkpoint cannot be written, read or used.
        HypirError: Too many updates in a row were not finite.
    """
    observer = observer or Observer()
    damaged: list[str] = []
    with runtime.together():
        here = runtime.is_main
        found = (
            find_checkpoint(config.output_dir, resume, on_damaged=damaged.append) if here else None
        )
    source = runtime.from_main(found)
    optimizers = make_optimizers(stage, config.optim)
    state = initial_state(config, kind=kind, runtime=runtime)
    torch.manual_seed(config.seed + runtime.rank)
    if source is not None:
        state = load_checkpoint(source, stage, optimizers, expect=state, runtime=runtime)
    loop = _Loop(
        stage,
        optimizers,
        Validation(config, runtime=runtime),
        config=config,
        runtime=runtime,
        observer=observer,
    )
    for message in damaged:
        loop.tell(f"Warning: {message}")
    if source is not None:
        loop.tell(f"resumed from {source}")
    return loop.run(replace(state, world_size=runtime.world_size))


@dataclass(eq=False)
class _Loop:
    stage: Stage
    optimizers: list[torch.optim.AdamW]
    validation: Validation
    _: KW_ONLY
    config: RunConfig
    runtime: Runtime
    observer: Observer
    _scores: dict[str, float] = field(default_factory=dict)
    _monitor: Monitor | None = None
    _balance: Balance = field(default_factory=Balance)

    def __post_init__(self) -> None:
        self._window = Window(self.config, runtime=self.runtime)

    def tell(self, message: str) -> None:
        if self.runtime.is_main:
            self.observer.on_message(message)

    def run(self, state: RunState) -> RunOutcome:
        config, runtime = self.config, self.runtime
        with runtime.together():
            self._monitor = self._open_monitor(state)
        prefetcher = Prefetcher(
            config,
            runtime=runtime,
            position=state.position,
            needs_lq=self.stage.needs_lq,
            teacher=self.stage.teacher,
            on_bad_file=lambda name, reason: self.tell(f"skipped {name}: {reason}"),
        )
        total = config.schedule.total_steps
        stopped = False
        try:
            if state.step == 0:
                self._before()
            with stop_requests() as requested:
                while state.step < total and not stopped:
                    state = self._advance(state, prefetcher)
                    stopped = runtime.any(requested.is_set())
                    state = self._after(state, last=stopped or state.step == total)
        finally:
            prefetcher.close()
            if self._monitor is not None:
                self._monitor.close()
        return RunOutcome(
            run_dir=config.output_dir,
            result=config.output_dir / self.stage.result_name,
            step=state.step,
            interrupted=stopped and state.step < total,
            skipped=state.skipped,
            scores=self._scores,
        )

    def _open_monitor(self, state: RunState) -> Monitor | None:
        config = self.config
        if not self.runtime.is_main:
            return None
        try:
            config.output_dir.mkdir(parents=True, exist_ok=True)
            (config.output_dir / CONFIG_FILE).write_text(resolved_yaml(config), encoding="utf-8")
            return Monitor(
                config.output_dir,
                tensorboard=config.logging.tensorboard,
                step=state.step,
                tracker=self._open_tracker(),
            )
        except OSError as error:
            raise InputError(
                f"cannot write to the run folder {config.output_dir}: {error}.",
                hint="free some space or set another output_dir",
            ) from error

    def _open_tracker(self) -> WandbTracker | None:
        config = self.config
        if not config.logging.wandb:
            return None
        return self.runtime.open_wandb(
            config.logging.wandb, name=config.output_dir.name, settings=to_dict(config)
        )

    def _log(self, step: int, scalars: Mapping[str, float]) -> None:
        with self.runtime.together():
            if self._monitor is not None:
                self._monitor.log(step, scalars)

    def _tell_scores(self, step: int, scores: Mapping[str, float]) -> None:
        if self.runtime.is_main:
            self.observer.on_scores(step, scores)

    def _tell_means(self, step: int, means: Mapping[str, float]) -> None:
        self._log(step, means)
        if self.runtime.is_main:
            self.observer.on_log(step, means)

    def _before(self) -> None:
        """What validation says of the degraded images, and of the model before its first update."""
        if not self.validation.has_scores:
            return
        scores = {f"lq/{k}": v for k, v in self.validation.baseline().items()}
        scores |= {f"val/{k}": v for k, v in self.validation.scores(self.stage).items()}
        self._log(0, scores)
        self._tell_scores(0, scores)

    def _advance(self, state: RunState, prefetcher: Prefetcher) -> RunState:
        config, runtime = self.config, self.runtime
        waited = prefetcher.waited
        outcome = update(
            self.stage, self.optimizers, prefetcher, state, config=config, runtime=runtime
        )
        number = outcome.state.step
        self._check_skipped(outcome.state, skipped_before=state.skipped)
        if warning := self._balance.add(outcome.scalars):
            self.tell(warning)
        rates = config.schedule.rates(state.step)
        scalars = self._window.add(
            outcome.scalars, rates=rates, state=outcome.state, waited=prefetcher.waited - waited
        )
        if runtime.is_main:
            self.observer.on_step(
                StepReport(step=number, total_steps=config.schedule.total_steps, scalars=scalars)
            )
        if number % config.logging.every == 0 or number == config.schedule.total_steps:
            self._tell_means(number, self._window.close())
        return outcome.state

    def _check_skipped(self, state: RunState, *, skipped_before: int) -> None:
        if state.skipped == skipped_before:
            return
        self.tell(f"step {state.step}: a gradient was not finite, nothing was changed")
        # In fp16 an overflow above the smallest loss scale is how the scale is found.
        if state.loss_scale > 1.0 or state.skipped_in_row < self.config.optim.max_skipped_steps:
            return
        raise HypirError(
            f"the gradients of {state.skipped_in_row} updates in a row were not finite, "
            f"up to step {state.step}.",
            hint="lower schedule.first.lr, check the data, or set optim.precision: fp32; "
            "then --resume auto from the last checkpoint",
        )

    def _after(self, state: RunState, *, last: bool) -> RunState:
        """Samples, validation and checkpoint, each when it is due."""
        config, step = self.config, state.step
        best = False
        if self.validation.has_scores and (step % config.validation.every == 0 or last):
            self._scores = self.validation.scores(self.stage)
            scores = {f"val/{k}": v for k, v in self._scores.items()}
            self._log(step, scores)
            self._tell_scores(step, scores)
            state, best = self._judged(state)
        every = config.logging.samples_every
        if every and (step % every == 0 or last):
            grid = self.validation.grid(self.stage)
            with self.runtime.together():
                if self._monitor is not None:
                    path = config.output_dir / SAMPLE_DIR / f"step-{step}.png"
                    self._monitor.grid(step, path, grid)
        if best or last or step % config.checkpoint.every == 0:
            self._save(state)
        return state

    def _judged(self, state: RunState) -> tuple[RunState, bool]:
        kind = self.config.checkpoint.keep_best
        if kind == "none" or kind not in self._scores:
            return state, False
        score = self._scores[kind]
        sign = -1.0 if kind in _LOWER_IS_BETTER else 1.0
        if state.best_score is not None and sign * score <= sign * state.best_score:
            return state, False
        return replace(state, best_score=score, best_step=state.step), True

    def _save(self, state: RunState) -> None:
        config = self.config
        folder = save_checkpoint(
            config.output_dir, self.stage, self.optimizers, state, runtime=self.runtime
        )
        with self.runtime.together():
            if self.runtime.is_main:
                _replace_file(folder / self.stage.result_name, config.output_dir)
                self._prune(state)
        self.tell(f"saved {folder}")

    def _prune(self, state: RunState) -> None:
        config = self.config
        try:
            prune(config.output_dir, keep_last=config.checkpoint.keep_last, keep=state.best_step)
        except CheckpointError as error:
            # No reason to end a run whose newest checkpoint is whole.
            self.tell(f"Warning: {error.message}")


def _replace_file(source: Path, folder: Path) -> None:
    """Copy a file into a folder; one that was there stays until the copy is whole."""
    temporary = folder / f".{source.name}.tmp"
    try:
        shutil.copyfile(source, temporary)
        os.replace(temporary, folder / source.name)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CheckpointError(
            f"cannot write {folder / source.name}: {error}.",
            hint=f"the same weights are in {source}; free some space",
        ) from error
