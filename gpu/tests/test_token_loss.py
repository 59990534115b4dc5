"""The loss of masked tokens: a mean over what is predicted, a true zero where nothing is."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from flava_gpu.batching import IGNORE_INDEX
from flava_gpu.token_loss import at_least_f32, token_cross_entropy


def test_the_loss_is_the_mean_over_predicted_tokens_to_1e_6() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 5, generator=generator)
    labels = torch.tensor([3, IGNORE_INDEX, 0, 4, IGNORE_INDEX, 1])
    expected = F.cross_entropy(logits[labels != IGNORE_INDEX], labels[labels != IGNORE_INDEX])
    assert token_cross_entropy(logits, labels).item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("tokens", [0, 3])
def test_no_predicted_token_gives_zero_with_zero_gradients(tokens: int) -> None:
    weight = torch.ones(4, 5, requires_grad=True)
    loss = token_cross_entropy(torch.ones(tokens, 4) @ weight, torch.full((tokens,), IGNORE_INDEX))
    loss.backward()
    assert loss.item() == 0
    assert weight.grad is not None  # the graph reaches the head: ranks with and without tokens do the same
    assert weight.grad.abs().max() == 0


def test_labels_stay_as_they_were() -> None:
    labels = torch.tensor([1, IGNORE_INDEX])
    token_cross_entropy(torch.zeros(2, 3), labels)
    assert labels.tolist() == [1, IGNORE_INDEX]


@pytest.mark.parametrize(("given", "expected"), [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)])
def test_half_precision_is_widened_and_f64_kept(given: torch.dtype, expected: torch.dtype) -> None:
    assert at_least_f32(torch.zeros(1, dtype=given)).dtype == expected
    assert token_cross_entropy(torch.zeros(1, 2, dtype=given), torch.tensor([0])).dtype == expected
