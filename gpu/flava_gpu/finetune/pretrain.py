"""Continued pretraining on pairs: contrastive, masked words from the text alone and with the picture, and matching; and
masked words on texts that have no picture.

MIM and MMM-image need FLAVA's image codebook, which the embedded model does not have; they are left out.
"""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn
from transformers import FlavaForPreTraining

from flava_gpu.batching import SpecialIds, TextBatch, mask_tokens, to_device
from flava_gpu.distributed import Ranks
from flava_gpu.finetune.batches import Batch, Batcher
from flava_gpu.finetune.contrastive import PARTS, embed, retrieval_metrics
from flava_gpu.finetune.rows import Row
from flava_gpu.finetune.supervised import EVALUATION_BATCH, freeze_all_but, in_order
from flava_gpu.objectives import global_contrastive_loss, image_states, mlm_loss, multimodal_losses, text_states
from flava_gpu.sampling import BatchOrder, stream_seed

FUSION_PARTS = (
    "flava.image_to_mm_projection.",
    "flava.text_to_mm_projection.",
    "flava.multimodal_model.",
    "itm_head.",
    "mmm_text_head.",
    "mlm_head.",
)
MASK_PROBABILITY = 0.15
MISMATCHED_SHARE = 0.5
WEIGHTS = {"contrastive": 1.0, "mlm": 0.1, "mmm_text": 0.1, "itm": 0.1}
"""As the embedded model was trained: at 1.0 the losses of word pieces, of 7 to 9 nats, drown the others' gradients."""


class Pretrain(nn.Module):
    def __init__(
        self, model: FlavaForPreTraining, batcher: Batcher, texts: list[Row], batch_size: int, seed: int, ranks: Ranks
    ) -> None:
        super().__init__()
        self.model = model
        self.batcher = batcher
        self.has_pairs = batcher.dataset.inputs == "pair"
        self.texts = [text for row in texts for text in row.texts] if self.has_pairs else []
        self.seed = seed
        self.ranks = ranks
        self.special = SpecialIds.of(batcher.tokenizer)
        size = min(batch_size, len(self.texts) // ranks.count * ranks.count)
        self.text_order = BatchOrder(len(self.texts), size, seed, "texts") if size else None
        freeze_all_but(model, (*PARTS, *FUSION_PARTS) if self.has_pairs else ("flava.text_model.", "mlm_head."))

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """The losses one by one, and their weighted sum as `loss`."""
        if not self.has_pairs:
            return {"loss": self.masked_words(batch.texts, step, "mlm", self.ranks)}
        image, text = embed(self.model, batch)
        mlm = self.masked_words(batch.texts, step, "mlm", self.ranks)
        if self.text_order is not None:
            texts = [self.texts[row] for row in self.ranks.share(self.text_order.batch(step))]
            mlm = (mlm + self.masked_words(texts, step, "texts", self.ranks)) / 2
        losses = {
            "contrastive": global_contrastive_loss(self.model, image, text, self.ranks),
            "mlm": mlm,
            **self.fused_losses(batch, step, "mmm", self.ranks),
        }
        return {**losses, "loss": torch.stack([WEIGHTS[name] * loss for name, loss in losses.items()]).sum()}

    def masked_words(self, texts: list[str], step: int, stream: str, ranks: Ranks | None = None) -> Tensor:
        """`ranks` in training only: one process evaluates for all."""
        words, masked, labels = self.mask(texts, step, stream)
        return mlm_loss(self.model, masked, words.attention_mask, labels, ranks)

    def fused_losses(self, batch: Batch, step: int, stream: str, ranks: Ranks | None = None) -> dict[str, Tensor]:
        """MMM-text and ITM; some captions move on by one place and stand beside another picture."""
        count = len(batch.texts)
        mismatched = round(count * MISMATCHED_SHARE)
        chosen = random.Random(self.stream(step, f"{stream}-itm")).sample(range(count), mismatched)
        texts = list(batch.texts)
        sources = [*chosen[1:], *chosen[:1]] if mismatched > 1 else [(row + 1) % count for row in chosen]
        for position, source in zip(chosen, sources, strict=True):
            texts[position] = batch.texts[source]
        is_match = [texts[row] == batch.texts[row] for row in range(count)]
        itm_labels = torch.tensor(is_match, device=self.batcher.device).long()
        words, masked, labels = self.mask(texts, step, stream)
        assert batch.pixel_values is not None
        image = image_states(self.model, batch.pixel_values)
        text = text_states(self.model, masked, words.attention_mask)
        return multimodal_losses(self.model, image, text, words.attention_mask, labels, itm_labels, ranks=ranks)

    def mask(self, texts: list[str], step: int, stream: str) -> tuple[TextBatch, Tensor, Tensor]:
        words = to_device(self.batcher.encode(texts), "cpu")
        generator = torch.Generator().manual_seed(self.stream(step, stream))
        size = self.batcher.tokenizer.get_vocab_size()
        masked, labels = mask_tokens(words, MASK_PROBABILITY, size, generator, self.special)
        device = self.batcher.device
        return to_device(words, device), masked.to(device), labels.to(device)

    def stream(self, step: int, name: str) -> int:
        return stream_seed(self.seed, name, step, self.ranks.rank)

    @torch.no_grad()
    def evaluate(self, batcher: Batcher) -> dict[str, float]:
        """Every loss on the validation rows, masked the same way each time, and retrieval where there are pairs."""
        totals: dict[str, float] = {}
        for number, batch in enumerate(in_order(batcher, EVALUATION_BATCH)):
            losses = {"mlm": self.masked_words(batch.texts, number, "valid")}
            if self.has_pairs:
                losses |= self.fused_losses(batch, number, "valid-mmm")
            for name, loss in losses.items():
                totals[name] = totals.get(name, 0.0) + loss.item() * len(batch.texts)
        means = {name: total / len(batcher.dataset) for name, total in totals.items()}
        if not self.has_pairs:
            return {"loss": means["mlm"]}
        retrieval = retrieval_metrics(self.model, batcher)
        contrastive = retrieval.pop("loss")
        total = WEIGHTS["contrastive"] * contrastive + sum(WEIGHTS[name] * mean for name, mean in means.items())
        named = {f"{name}_loss": mean for name, mean in means.items()}
        return {"loss": total, "contrastive_loss": contrastive, **named, **retrieval}
