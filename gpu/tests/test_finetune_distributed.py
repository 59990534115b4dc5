"""Two gloo processes on this machine train what one would."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file
from torch import Tensor

from flava_gpu.batching import IGNORE_INDEX
from flava_gpu.distributed import Ranks
from flava_gpu.finetune.batches import Batch, Batcher
from flava_gpu.finetune.model_files import load_starting_model
from flava_gpu.finetune.pretrain import Pretrain
from flava_gpu.finetune.protocol import DoneEvent, parse_event
from flava_gpu.objectives import global_contrastive_loss
from tests.finetune_job import caption_row, make_job, rows_of, run_here
from tests.tiny_checkpoint import write_checkpoint

GPU = Path(__file__).parents[1]
RANKS, EACH, WIDTH = 2, 3, 5


def gradients(rows: slice, ranks: Ranks) -> dict[str, Tensor]:
    """Of the contrastive loss in f64, by two linear encoders and the logit scale."""
    generator = torch.Generator().manual_seed(0)
    pictures, texts = (torch.randn(RANKS * EACH, WIDTH, generator=generator, dtype=torch.float64) for _ in range(2))
    weights = {
        name: torch.randn(WIDTH, WIDTH, generator=generator, dtype=torch.float64).requires_grad_()
        for name in ("image", "text")
    }
    scale = torch.nn.Parameter(torch.tensor(1.3, dtype=torch.float64))
    model: Any = SimpleNamespace(flava=SimpleNamespace(logit_scale=scale))
    image = torch.nn.functional.normalize(pictures[rows] @ weights["image"], dim=1)
    text = torch.nn.functional.normalize(texts[rows] @ weights["text"], dim=1)
    global_contrastive_loss(model, image, text, ranks).backward()
    found = {name: weight.grad for name, weight in weights.items()} | {"scale": scale.grad}
    return {name: grad for name, grad in found.items() if grad is not None}


def one_rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=RANKS)
    found = gradients(slice(rank * EACH, (rank + 1) * EACH), Ranks(rank, RANKS))
    for grad in found.values():  # as DDP averages them
        dist.all_reduce(grad)
        grad /= RANKS
    if rank == 0:
        torch.save(found, f"{folder}/gradients")
    dist.destroy_process_group()


def test_gradients_of_the_gathered_loss_equal_one_processs_to_1e_6(tmp_path: Path) -> None:
    mp.spawn(one_rank, (str(tmp_path),), RANKS)  # type: ignore[attr-defined]
    found = torch.load(tmp_path / "gradients", weights_only=True)
    expected = gradients(slice(None), Ranks())
    assert found.keys() == expected.keys()
    for name, grad in expected.items():
        assert (found[name] - grad).norm() <= 1e-6 * grad.norm(), name


def masked_words_of_rank(rank: int, folder: str) -> None:
    """Writes the loss that this rank trains with, the mean over its own masked words, and how many they are."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=RANKS)
    start = load_starting_model(Path(folder) / "base", seed=0)
    texts = [["red"], ["red cat", "small dog", "rain in the heart"]][rank]
    dataset: Any = SimpleNamespace(inputs="text")
    batcher = Batcher(dataset, None, start.tokenizer, 20, seed=0, device="cpu")
    objective = Pretrain(start.model.eval(), batcher, [], batch_size=RANKS, seed=0, ranks=Ranks(rank, RANKS))
    trained = objective(Batch(None, texts, None, None), 0)["loss"].item()
    count = int((objective.mask(texts, 0, "mlm")[2] != IGNORE_INDEX).sum())
    torch.save((trained, objective.masked_words(texts, 0, "mlm").item(), count), f"{folder}/rank{rank}")
    dist.destroy_process_group()


def test_continued_pretraining_weighs_every_masked_word_of_all_processes_alike(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "base")
    mp.spawn(masked_words_of_rank, (str(tmp_path),), RANKS)  # type: ignore[attr-defined]
    trained, means, counts = zip(*(torch.load(tmp_path / f"rank{rank}") for rank in range(RANKS)), strict=True)
    assert counts[0] != counts[1]
    expected = sum(mean * count for mean, count in zip(means, counts, strict=True)) / sum(counts)
    assert sum(trained) / RANKS == pytest.approx(expected, rel=1e-5)
    assert sum(means) / RANKS != pytest.approx(expected, rel=1e-5)


def test_of_two_pairs_one_stays_matched_in_continued_pretraining(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = load_starting_model(write_checkpoint(tmp_path / "base"), seed=0)
    dataset: Any = SimpleNamespace(inputs="pair")
    batcher = Batcher(dataset, None, start.tokenizer, 20, seed=0, device="cpu")
    objective = Pretrain(start.model.eval(), batcher, [], batch_size=2, seed=0, ranks=Ranks())
    told: list[list[int]] = []

    def losses(*arguments: Any, **_: Any) -> dict[str, Tensor]:
        told.append(arguments[5].tolist())
        return {}

    monkeypatch.setattr("flava_gpu.finetune.pretrain.multimodal_losses", losses)
    for step in range(6):
        objective.fused_losses(Batch(torch.zeros(2, 3, 16, 16), ["red", "blue"], None, None), step, "mmm")
    assert {tuple(labels) for labels in told} == {(0, 1), (1, 0)}


def test_two_processes_under_torchrun_leave_the_weights_of_one_and_one_stream_of_events(tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path / "base")
    # The same step in another order of sums is amplified by AdamW's division where gradients are next to nothing.
    plan = {"n_epochs": 2, "batch_size": 8, "learning_rate_multiplier": 0.1}
    job = make_job(tmp_path, base, "contrastive", rows_of(caption_row, 16, 1), rows_of(caption_row, 8, 2), plan)
    run_here(job, tmp_path / "one")
    job.write(tmp_path / "job.json")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "flava_gpu.finetune"]
    arguments = ["--job", str(tmp_path / "job.json"), "--workdir", str(tmp_path / "two")]
    result = subprocess.run([sys.executable, *launch, *arguments], cwd=GPU, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    events = [parse_event(line) for line in result.stdout.splitlines()]
    assert [type(event) for event in events].count(DoneEvent) == 1
    one, two = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two"))
    before = load_file(base / "model.safetensors")
    moved = max((one[name].float() - before[name].float()).abs().max().item() for name in one)
    apart = max((one[name].float() - two[name].float()).abs().max().item() for name in one)
    assert moved > 0
    assert apart <= 0.1 * moved
    assert json.loads((tmp_path / "two" / "model" / "training.json").read_text())["trained_images"] == 32
