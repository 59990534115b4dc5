"""A fine-tuning run, to be read from top to bottom: model, data, plan, optimizer, resume, loop, evaluate, save.

Every random choice comes from the seed and the step, so that a run that was killed and resumed ends in the same weights.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from dataclasses import asdict
from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel

from flava_gpu.distributed import Ranks
from flava_gpu.finetune.batches import count_tokens, max_text_length
from flava_gpu.finetune.contrastive import pair_keys
from flava_gpu.finetune.history import History
from flava_gpu.finetune.job_data import describe, fingerprint_of, load_data
from flava_gpu.finetune.linear_probe import fit_probe
from flava_gpu.finetune.model_files import load_starting_model, move, round_weights
from flava_gpu.finetune.objective import evaluate, make_batcher, make_objective, make_spec
from flava_gpu.finetune.optimizer import build_optimizer, require_finite, set_rates
from flava_gpu.finetune.outcome import Reporter, keep_checkpoint, save_outcome
from flava_gpu.finetune.plan import GRADIENT_CLIP, make_plan
from flava_gpu.finetune.protocol import LogEvent, MetricsEvent, ProgressEvent, StoppedEvent, TrainingJob
from flava_gpu.finetune.supervised import Supervised
from flava_gpu.sampling import BatchOrder, most_repeated
from flava_gpu.training.checkpoints import (
    Checkpoint,
    read_checkpoint,
    restore_training,
    restoring,
    trained_parameters,
    training_tensors,
)
from flava_gpu.training.errors import StoppedError, crash
from flava_gpu.training.optimizer import is_stuck_at_chance

log = logging.getLogger("flava_gpu.finetune")

CHECKPOINT_SECONDS = 180.0
"""No more work than this is lost, whatever `checkpoint_every` says."""
CHECKPOINT_TIME_SHARE = 0.05
"""Of the time that `auto` checkpoints may take."""
PROGRESS_SECONDS = 1.0
LOG_SECONDS = 15.0


def run(job: TrainingJob, workdir: Path, ranks: Ranks, reporter: Reporter, kept_checkpoints: int | None) -> None:
    """Runs `job` to its end, or to a checkpoint when the reporter is asked to stop. Raises TrainingError, StoppedError.

    Longer than other functions, so that a run reads as one piece.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    torch.use_deterministic_algorithms(True, warn_only=True)
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    tell, warn = reporter.tell, reporter.warn

    # Model
    start = load_starting_model(Path(job.base_checkpoint), job.seed)
    model = start.model
    move(model, job.device)
    reporter.stop_here_if_asked()

    # Data
    datasets = load_data(job, start, workdir, ranks, reporter)
    training = datasets.training
    tell(LogEvent(describe(datasets)))
    max_length = max_text_length(start.max_positions, training.inputs)
    fingerprint = fingerprint_of(job, datasets)
    if job.method == "linear_probe":
        if ranks.is_main:  # its one pass over the data is not shared out
            fit_probe(job, start, datasets, max_length, fingerprint, workdir, reporter)
        return

    # Plan
    keys = pair_keys(training) if job.method != "supervised" and training.inputs == "pair" else None
    plan, notes = make_plan(job.method, job.hyperparameters, len(training), start.hidden_size, ranks.count)
    for note in notes:
        warn(note)
    if keys is not None and (repeated := most_repeated(keys)) > plan.steps_per_epoch:
        warn(f"a caption or picture stands in {repeated} rows, more than an epoch has batches: some batches repeat it")
    tell(LogEvent(f"{plan.steps} steps by this plan: {json.dumps(asdict(plan))}"))
    order = BatchOrder(len(training), plan.batch_size, job.seed, "rows", keys)

    # Objective and optimizer
    spec = make_spec(job, datasets, max_length, start.hidden_size)
    batcher = make_batcher(job, training, datasets.labels, spec, start.tokenizer, max_length)
    validation = None
    if datasets.validation is not None:
        validation = make_batcher(job, datasets.validation, datasets.labels, spec, start.tokenizer, max_length)
    objective = make_objective(job, model, spec, batcher, datasets, plan, ranks).to(job.device)
    trained = trained_parameters(objective)
    if missing := [name for name in start.missing if f"model.{name}" in trained]:
        warn(f"the model to start from lacks {len(missing)} of the trained tensors, as {missing[0]}: they start random")
    optimizer = build_optimizer(trained, plan)
    stepper = DistributedDataParallel(objective, find_unused_parameters=True) if ranks.count > 1 else objective

    # Resume
    torch.manual_seed(job.seed)
    done, counts, history = 0, {"tokens": 0, "images": 0}, History([])
    if job.resume is not None:
        checkpoint = read_checkpoint(Path(job.resume.folder), fingerprint)
        with restoring(Path(job.resume.folder)):
            if checkpoint.state["batch_size"] != plan.batch_size:  # another number of devices divides it otherwise
                raise crash(
                    "checkpoint_mismatch", f"batches of {plan.batch_size} here, {checkpoint.state['batch_size']} before"
                )
            restore_training(checkpoint, objective, optimizer)
            done, counts, history = (
                checkpoint.state["step"],
                checkpoint.state["counts"],
                History(checkpoint.state["history"]),
            )
        tell(LogEvent(f"resumed at step {done} of {plan.steps}"))

    # Loop
    began = last_checkpoint = last_log = last_progress = time.monotonic()
    first_step, saving_seconds, is_stuck_told = done, 0.0, False
    recent: list[dict[str, float]] = []
    objective.train()
    while done < plan.steps:
        rows = order.batch(done)
        batch = batcher.draw(ranks.share(rows), order.epoch_of(done))
        rate = set_rates(optimizer, plan, done)
        with mixed_precision(job.device):
            losses = stepper(batch, done)
        optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        norm = torch.nn.utils.clip_grad_norm_(trained.values(), GRADIENT_CLIP).item()
        values = {name: loss.item() for name, loss in losses.items()}
        now = time.monotonic()
        is_overdue = now - last_checkpoint > CHECKPOINT_SECONDS
        told = ranks.exchange([values["loss"], norm, reporter.is_stopping, is_overdue, count_tokens(batch)])
        require_finite([rank[:2] for rank in told], done + 1, rows, training)
        optimizer.step()
        done += 1
        counts["tokens"] += int(sum(rank[4] for rank in told))
        counts["images"] += len(rows) if training.pictures is not None else 0

        # Report
        recent.append(values)
        if done % plan.log_every == 0 or done == plan.steps or now - last_log > LOG_SECONDS:
            means = {f"train_{name}": sum(step[name] for step in recent) / len(recent) for name in values}
            tell(MetricsEvent(done, history.add(done, {**means, "learning_rate": rate, "grad_norm": norm})))
            recent, last_log = [], now
            compared = means.get("train_contrastive", means["train_loss"]) if keys is not None else 0.0
            if not is_stuck_told and done > 3 * plan.warmup_steps and is_stuck_at_chance(compared, plan.batch_size):
                is_stuck_told = True
                warn(
                    f"step {done}: the contrastive loss sits at ln({plan.batch_size}), which is guessing: lower the rate"
                )
        if now - last_progress > PROGRESS_SECONDS:
            seconds_left = (now - began) / (done - first_step) * (plan.steps - done)
            tell(ProgressEvent(done, plan.steps, "steps", round(seconds_left, 1)))
            last_progress = now
        if validation is not None and done % plan.evaluate_every == 0 and done < plan.steps and ranks.is_main:
            tell(MetricsEvent(done, history.add(done, evaluate(objective, validation))))

        # Checkpoint
        should_stop, is_due = any(rank[2] for rank in told), any(rank[3] for rank in told)
        if done % plan.checkpoint_every == 0 or done == plan.steps:
            is_due |= plan.is_checkpoint_exact or saving_seconds <= CHECKPOINT_TIME_SHARE * (now - began)
        if (should_stop or is_due) and ranks.is_main:
            started = time.monotonic()
            state = {"step": done, "counts": counts, "history": history.points, "fingerprint": fingerprint}
            state["batch_size"] = plan.batch_size
            checkpoint = Checkpoint(training_tensors(objective, optimizer), state)
            keep_checkpoint(workdir, checkpoint, history.latest, reporter, must=should_stop, kept=kept_checkpoints)
            saving_seconds += time.monotonic() - started
        if should_stop or is_due:
            last_checkpoint = time.monotonic()
        if should_stop:
            tell(StoppedEvent(done))
            raise StoppedError

    # Evaluate, on the weights as they are saved
    if not ranks.is_main:
        return
    round_weights(model, start.dtype)
    if validation is not None:
        tell(MetricsEvent(done, history.add(done, evaluate(objective, validation))))
    tell(ProgressEvent(done, plan.steps, "steps", 0.0))

    # Save
    names = [name.removeprefix("model.") for name in trained]
    head = (objective.spec, objective.head) if isinstance(objective, Supervised) else None
    hyperparameters = {**asdict(plan), "steps": plan.steps}
    save_outcome(job, start, datasets, head, names, hyperparameters, counts, history, workdir, reporter)


def mixed_precision(device: str) -> contextlib.AbstractContextManager[object]:
    """bf16 products where the GPU has them; the CPU stays in f32, where a resumed run has to be exact."""
    if device.startswith("cuda") and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", torch.bfloat16)
    return contextlib.nullcontext()
