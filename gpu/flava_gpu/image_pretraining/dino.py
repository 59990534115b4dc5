"""Self-distillation without labels (DINO, arXiv 2104.14294), the paper's best start for the image encoder.

A student names what is in small crops as its teacher, an average of the student, names what is in large ones; the names are K
prototypes that nobody chose. Centering keeps one name from winning everywhere, sharpening keeps all from being alike.
"""

from __future__ import annotations

import copy
import logging
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import FlavaForPreTraining, FlavaImageModel

from flava_gpu.augment import augment, normalize
from flava_gpu.sampling import stream_seed
from flava_gpu.training.config import AugmentationConfig, ModelConfig

log = logging.getLogger("flava_gpu.image_pretraining")

COLLAPSED = 0.1
"""Nats that a teacher's answer tells of the picture, below which it counts as collapsed."""


@dataclass(frozen=True)
class CropsConfig:
    count: int
    size: int
    augmentation: AugmentationConfig
    """`scale` and `shift` say how far a crop zooms in and how far from the middle it may lie."""


@dataclass(frozen=True)
class TeacherConfig:
    momentum: float
    """Of the average of the student's weights; goes to 1 by a cosine."""
    temperature: float
    warmup_temperature: float
    warmup_updates: int
    center_momentum: float


@dataclass(frozen=True)
class HeadConfig:
    hidden_size: int
    bottleneck_size: int
    prototypes: int
    frozen_updates: int
    """At the beginning, in which the prototypes stay as they are."""


@dataclass(frozen=True)
class DinoConfig:
    global_crops: CropsConfig
    local_crops: CropsConfig
    student_temperature: float
    teacher: TeacherConfig
    head: HeadConfig

    def teacher_temperature(self, update: int) -> float:
        """Linear from the warm-up's: a sharp teacher at the start would make whatever it happens to say come true."""
        teacher = self.teacher
        share = min(1.0, update / max(1, teacher.warmup_updates))
        return teacher.warmup_temperature + share * (teacher.temperature - teacher.warmup_temperature)


class DinoHead(nn.Module):
    """Token 0 to cosines with the prototypes: three layers, then a weight-normalized one whose lengths are fixed at 1."""

    def __init__(self, input_size: int, config: HeadConfig) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(input_size, config.hidden_size),
            nn.GELU(),
            nn.Linear(config.hidden_size, config.hidden_size),
            nn.GELU(),
            nn.Linear(config.hidden_size, config.bottleneck_size),
        )
        self.prototypes = nn.Parameter(torch.randn(config.prototypes, config.bottleneck_size) * 0.02)
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, states: Tensor) -> Tensor:
        """[n, input_size] to f32 [n, prototypes]."""
        bottleneck = self.mlp(states).float()
        # bf16 cosines, over a temperature of 0.04, would be off by a tenth of a nat.
        with torch.autocast(states.device.type, enabled=False):
            return F.linear(F.normalize(bottleneck, dim=-1), F.normalize(self.prototypes.float(), dim=-1))


class Distiller(nn.Module):
    """One of the two networks: an image encoder and its head."""

    def __init__(self, encoder: FlavaImageModel, config: HeadConfig) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = DinoHead(encoder.config.hidden_size, config)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """f32 [n, prototypes] of pixel_values [n, 3, side, side]; smaller sides have interpolated position embeddings."""
        embedded = self.encoder.embeddings(pixel_values, interpolate_pos_encoding=True)
        states = self.encoder.encoder(embedded).last_hidden_state[:, 0]
        return self.head(self.encoder.layernorm(states))


class StudentAndTeacher(nn.Module):
    """All that a run has to keep. The optimizer is given the student alone, and no gradient reaches the rest."""

    def __init__(self, student: Distiller, prototypes: int) -> None:
        super().__init__()
        self.student = student
        self.teacher = copy.deepcopy(student)
        # A parameter, not a buffer: checkpoints of a run hold parameters.
        self.center = nn.Parameter(torch.zeros(prototypes))


class DistilledImages:
    """Student and teacher over the model's image encoder, and batches drawn from the seed and the update's number alone."""

    def __init__(
        self,
        config: DinoConfig,
        geometry: ModelConfig,
        seed: int,
        updates: int,
        model: FlavaForPreTraining,
        images: Tensor,
    ) -> None:
        """`images` uint8 RGBA [n, 4, side, side]."""
        self.config = config
        self.seed = seed
        self.updates = updates
        self.images = images
        student = Distiller(model.flava.image_model, config.head)
        for name, parameter in student.encoder.named_parameters():
            # DINO masks nothing and takes token 0 before the pooler.
            parameter.requires_grad_("pooler" not in name and "mask_token" not in name)
        self.module = StudentAndTeacher(student, config.head.prototypes)
        self.trained: nn.Module = student
        self.spread = math.inf

    @property
    def encoder(self) -> FlavaImageModel:
        """The teacher's, which is the better one all along."""
        return self.module.teacher.encoder

    def losses(self, rows: list[int], update: int) -> dict[str, Tensor]:
        """Of a batch of the pictures at `rows`. Moves the center."""
        images = self.images[rows]
        large = self._crops(images, self.config.global_crops, update, "global")
        small = self._crops(images, self.config.local_crops, update, "local")
        student, teacher = self.module.student, self.module.teacher
        answers = [student(crops.flatten(0, 1)).unflatten(0, crops.shape[:2]) for crops in (large, small) if len(crops)]
        with torch.no_grad():
            named = teacher(large.flatten(0, 1)).unflatten(0, large.shape[:2])  # [global crops, batch, prototypes]
        targets = teacher_targets(named, self.module.center.detach(), self.config.teacher_temperature(update))
        self.spread = answer_spread(targets)
        self._entropy = -torch.xlogy(targets, targets).sum(dim=-1).mean().item()
        with torch.no_grad():
            self.module.center.lerp_(named.mean(dim=(0, 1)), 1 - self.config.teacher.center_momentum)
        return {"dino": dino_loss(torch.cat(answers), targets, self.config.student_temperature)}

    def before_step(self, update: int) -> None:
        if update < self.config.head.frozen_updates:
            self.module.student.head.prototypes.grad = None

    @torch.no_grad()
    def after_step(self, update: int) -> dict[str, float]:
        """Moves the teacher; returns what the curves should hold."""
        momentum = teacher_momentum(update, self.updates, self.config.teacher.momentum)
        for mine, other in zip(self.module.teacher.parameters(), self.module.student.parameters(), strict=True):
            mine.lerp_(other, 1 - momentum)
        return {"teacher_entropy": self._entropy, "teacher_spread": self.spread}

    def warn_if_collapsed(self) -> bool:
        if self.spread >= COLLAPSED:
            return False
        log.warning(
            "the teacher says nearly the same of every picture (%.3f nats of difference, entropy %.2f of %.2f): lower "
            "dino.teacher.temperature if the entropy is high, raise it or dino.teacher.center_momentum's pace if it is low",
            self.spread,
            self._entropy,
            math.log(self.config.head.prototypes),
        )
        return True

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Nothing of its own: a loss against a moving teacher compares no two moments."""
        return {}

    def _crops(self, images: Tensor, config: CropsConfig, update: int, stream: str) -> Tensor:
        """pixel_values f32 [crops, batch, 3, size, size]."""
        crops: list[Tensor] = []
        for number in range(config.count):
            generator = torch.Generator().manual_seed(stream_seed(self.seed, update, stream, number))
            crops.append(normalize(augment(images, config.size, config.augmentation, generator)))
        return torch.stack(crops) if crops else images.new_empty(0)


def teacher_targets(named: Tensor, center: Tensor, temperature: float) -> Tensor:
    """Probabilities f32 [crops, batch, prototypes], centered and sharpened."""
    return F.softmax((named - center) / temperature, dim=-1)


def dino_loss(answers: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Mean cross entropy over all pairs of a teacher's crop and another crop of the student's.

    `answers` f32 [crops, batch, prototypes], the first of them the teacher's own crops; `targets` f32
    [global crops, batch, prototypes], probabilities.
    """
    log_probabilities = F.log_softmax(answers / temperature, dim=-1)
    # Not by a matrix product, which autocast would take to half precision.
    cross = -(targets.unsqueeze(1) * log_probabilities).sum(dim=-1).mean(dim=-1)  # [global crops, crops]
    is_other = ~torch.eye(*cross.shape, dtype=torch.bool, device=cross.device)
    return cross[is_other].mean()


def answer_spread(targets: Tensor) -> float:
    """Nats that an answer tells of which picture it is about: entropy of the mean answer less mean entropy of the answers.

    0 in both ways to collapse, one prototype for all pictures and all prototypes alike for each (DINO, figure 7).
    """
    rows = targets.flatten(0, 1)
    mean = rows.mean(dim=0)
    return (torch.xlogy(rows, rows).sum(dim=-1).mean() - torch.xlogy(mean, mean).sum()).item()


def teacher_momentum(update: int, updates: int, start: float) -> float:
    """From `start` to 1 by half a cosine."""
    return 1 - (1 - start) * (1 + math.cos(math.pi * update / updates)) / 2
