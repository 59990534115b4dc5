"""Two gloo processes under torchrun train what one does, replicated and sharded, in f64."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import FlavaForPreTraining

from flava_gpu.distributed import Ranks
from flava_gpu.objectives import image_embedding, image_states
from flava_gpu.training.curves import read_curves
from flava_gpu.training.sharded import clip_gradients
from tests.parallel_job import CONTRASTIVE, RANKS, UPDATES, gradients, make_batch, train
from tests.tiny import joint_config, write_codebook, write_config, write_data

GPU = Path(__file__).parents[1]
TOLERANCE = 1e-6
STRATEGIES = ("ddp", "fsdp")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    raw = joint_config(write_data(folder / "data"), folder, write_codebook(folder / "codebook"), updates=6)
    write_config(folder / "joint.yaml", raw | {"strategy": "fsdp", "tokenizer": None, "init": []})
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={RANKS}", "-m", "tests.parallel_job"]
    result = subprocess.run([sys.executable, *launch, str(folder)], cwd=GPU, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def two(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "results.pt", weights_only=True)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same by one process."""
    _, run, norms = train("ddp", Ranks(), tmp_path_factory.mktemp("alone"))
    trained = {name: tensor.clone() for name, tensor in run.module.state_dict().items()}
    without = [name for name, parameter in run.module.named_parameters() if parameter.grad is None]
    with run.averaged():
        averaged = {name: tensor.clone() for name, tensor in run.module.state_dict().items()}
    found = gradients("ddp", Ranks(), make_batch(0), weights=CONTRASTIVE, is_global=True)
    return {"norms": norms, "trained": trained, "averaged": averaged, "without": without, "gradients": found}


def flat(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensors[name].flatten() for name in sorted(tensors) if name != "loss"])


def furthest(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Of the tensors, the largest distance relative to the expected one's norm."""
    assert found.keys() == expected.keys()
    return max(
        ((found[name] - tensor).norm() / tensor.norm().clamp(min=1e-9)).item() for name, tensor in expected.items()
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_gradients_of_the_global_contrastive_loss_equal_one_processs_to_1e_6(
    one: dict[str, Any], two: dict[str, Any], strategy: str
) -> None:
    found, expected = two[f"{strategy} global"], one["gradients"]
    assert found.keys() == expected.keys()
    assert (flat(found) - flat(expected)).norm() <= TOLERANCE * flat(expected).norm()
    assert found["loss"].item() == pytest.approx(expected["loss"].item(), rel=TOLERANCE)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_gradients_of_the_local_contrastive_loss_do_not_although_the_loss_is_the_same(
    one: dict[str, Any], two: dict[str, Any], strategy: str
) -> None:
    found, expected = two[f"{strategy} local"], one["gradients"]
    assert found["loss"].item() == pytest.approx(expected["loss"].item(), rel=TOLERANCE)
    cosine = torch.cosine_similarity(flat(found), flat(expected), dim=0).item()
    length = (flat(found).norm() / flat(expected).norm()).item()
    assert cosine < 0.95
    assert length < 0.9


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("what", ["trained", "averaged"])
def test_updates_on_every_kind_of_batch_leave_the_weights_of_one_process_on_the_doubled_batch(
    one: dict[str, Any], two: dict[str, Any], strategy: str, what: str
) -> None:
    assert furthest(two[f"{strategy} {what}"], one[what]) <= TOLERANCE
    assert two[f"{strategy} norms"] == pytest.approx(one["norms"], rel=TOLERANCE)
    assert len(one["norms"]) == UPDATES


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_run_stopped_after_a_checkpoint_goes_on_to_the_same_weights(two: dict[str, Any], strategy: str) -> None:
    assert len(two[f"{strategy} resumed norms"]) == UPDATES - 3
    assert furthest(two[f"{strategy} resumed"], two[f"{strategy} trained"]) == 0


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_checkpoint_of_two_processes_is_gone_on_with_by_one(
    folder: Path, one: dict[str, Any], two: dict[str, Any], strategy: str
) -> None:
    checkpoint = Path("checkpoints") / "step-0000003"
    shutil.copytree(folder / f"{strategy} stopped" / checkpoint, folder / f"{strategy} for one" / checkpoint)
    _, run, norms = train("ddp", Ranks(), folder / f"{strategy} for one")
    assert len(norms) == UPDATES - 3
    assert furthest(dict(run.module.state_dict()), one["trained"]) <= TOLERANCE


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_saved_model_loads_in_transformers_whole(folder: Path, two: dict[str, Any], strategy: str) -> None:
    loaded: Any = FlavaForPreTraining.from_pretrained(
        folder / f"{strategy} model", output_loading_info=True, dtype=torch.float64
    )
    model, info = loaded
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert furthest(dict(model.state_dict()), two[f"{strategy} trained"]) == 0


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_parts_of_a_sharded_model_run_by_themselves_while_its_weights_are_whole(
    folder: Path, two: dict[str, Any], strategy: str
) -> None:
    model = FlavaForPreTraining.from_pretrained(folder / f"{strategy} model", dtype=torch.float64)
    batch: Any = make_batch(0)
    expected = image_embedding(model, image_states(model, batch.pixel_values))
    assert (two[f"{strategy} embeddings"] - expected).abs().max() < 1e-12


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_parameters_that_no_batch_reaches_keep_no_gradient_and_so_do_not_decay(
    one: dict[str, Any], two: dict[str, Any], strategy: str
) -> None:
    untouched = {name for name in one["without"] if "pooler" in name and not name.startswith("itm_head")}
    assert len(untouched) == 6  # weight and bias of the three encoders' poolers
    assert untouched <= set(two[f"{strategy} without gradient"])


def test_the_joint_stage_runs_sharded_from_data_to_a_checkpoint_that_transformers_loads(folder: Path) -> None:
    run = folder / "runs" / "joint"
    loaded: Any = FlavaForPreTraining.from_pretrained(run, output_loading_info=True)
    assert not loaded[1]["missing_keys"]
    assert max(point["update"] for point in read_curves(run)) == 6
    assert list((run / "checkpoints").glob("step-*/optimizer.safetensors"))


def test_clipping_equals_pytorchs_to_1e_6() -> None:
    generator = torch.Generator().manual_seed(0)
    parameters = [torch.nn.Parameter(torch.zeros(3, size)) for size in (2, 5)]
    twins = [torch.nn.Parameter(torch.zeros(3, size)) for size in (2, 5)]
    for parameter, twin in zip(parameters, twins, strict=True):
        parameter.grad = torch.randn(parameter.shape, generator=generator)
        twin.grad = parameter.grad.clone()
    norm = clip_gradients(parameters, 0.5)
    assert norm.item() == pytest.approx(torch.nn.utils.clip_grad_norm_(twins, 0.5).item(), rel=1e-6)
    for parameter, twin in zip(parameters, twins, strict=True):
        assert torch.equal(parameter.grad, twin.grad)  # type: ignore[arg-type]
