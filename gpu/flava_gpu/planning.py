"""Decides how each tensor is stored: a variant's recipe on one checkpoint, within its byte budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flava_gpu.allocation import Option, allocate, total_damage
from flava_gpu.checkpoint_reader import CheckpointReader
from flava_gpu.package_config import tensor_file_metadata
from flava_gpu.package_file import file_header
from flava_gpu.package_layout import (
    ENCODERS,
    Config,
    Encoder,
    LinearSpec,
    SchemePlan,
    encoder_linears,
    file_layout,
)
from flava_gpu.schemes import LinearScheme, linear_bytes
from flava_gpu.variants import ALLOCATED, BUDGETED, RECIPES, EncoderRecipe, packable_choices, packable_embedding


@dataclass(frozen=True)
class Allocation:
    """What the allocation of one encoder came to; damages are estimated means of 1 - cosine."""

    budget_bytes: int
    """For the Linears' weights and scales."""
    damage: float
    uniform_damage: dict[str, float]
    """Of every Linear in one scheme, whatever that would take."""


@dataclass(frozen=True)
class Plan:
    schemes: SchemePlan
    allocations: dict[Encoder, Allocation]


def choose_schemes(
    reader: CheckpointReader, variant: str, budget_bytes: dict[Encoder, int], show_progress: bool = False
) -> Plan:
    """The variant's schemes by tensor name. budget_bytes, by encoder, overrides the variant's: bytes of the whole file."""
    recipe = RECIPES[variant]
    embedding = packable_embedding(reader.config, recipe.embedding)
    linears: dict[str, LinearScheme] = {}
    allocations: dict[Encoder, Allocation] = {}
    for encoder in ENCODERS:
        encoder_recipe = recipe.encoder(encoder)
        if encoder in budget_bytes:
            encoder_recipe = EncoderRecipe(BUDGETED[encoder], bits=0)
        specs = encoder_linears(reader.config, encoder)
        choices = {spec.name: packable_choices(spec, encoder_recipe.choices) for spec in specs}
        first: dict[str, LinearScheme] = {name: schemes[0] for name, schemes in choices.items()}
        if encoder_recipe.bits is None:
            linears.update(first)
            continue
        budget = sum(
            int(spec.n * spec.k * encoder_recipe.bits / 8)
            if len(choices[spec.name]) > 1
            else linear_bytes(first[spec.name], spec.n, spec.k)
            for spec in specs
        )
        if encoder in budget_bytes:
            budget = budget_bytes[encoder] - fixed_bytes(reader.config, encoder, SchemePlan(embedding, first))
        options = linear_options(reader, encoder, specs, choices, show_progress)
        chosen = allocate(options, budget)
        # How long the header is depends on what was chosen.
        while (
            encoder in budget_bytes
            and (
                over := planned_bytes(reader.config, encoder, SchemePlan(embedding, chosen), variant)
                - budget_bytes[encoder]
            )
            > 0
        ):
            budget -= over
            chosen = allocate(options, budget)
        allocations[encoder] = Allocation(budget, total_damage(options, chosen), uniform_damage(options, choices))
        linears.update(chosen)
    return Plan(SchemePlan(embedding, linears), allocations)


def planned_bytes(config: Config, encoder: Encoder, plan: SchemePlan, variant: str) -> int:
    """Size of an encoder's file, header and all."""
    layout = file_layout(config, encoder, plan)
    return len(file_header(layout, tensor_file_metadata(variant))) + sum(spec.size_bytes for spec in layout)


def fixed_bytes(config: Config, encoder: Encoder, plan: SchemePlan) -> int:
    """Bytes of an encoder's tensors that no choice of Linear schemes changes."""
    total = sum(spec.size_bytes for spec in file_layout(config, encoder, plan))
    linears = encoder_linears(config, encoder)
    return total - sum(linear_bytes(plan.linears[spec.name], spec.n, spec.k) for spec in linears)


def linear_options(
    reader: CheckpointReader,
    encoder: Encoder,
    specs: list[LinearSpec],
    choices: Mapping[str, tuple[LinearScheme, ...]],
    show_progress: bool,
) -> dict[str, list[Option]]:
    """What each scheme of each Linear takes and costs."""
    from flava_gpu.damage import DamageEstimator

    damage = DamageEstimator(reader, encoder, choices).estimate(show_progress=show_progress)
    return {
        spec.name: [
            Option(scheme, linear_bytes(scheme, spec.n, spec.k), loss) for scheme, loss in damage[spec.name].items()
        ]
        for spec in specs
    }


def uniform_damage(
    options: dict[str, list[Option]], choices: Mapping[str, tuple[LinearScheme, ...]]
) -> dict[str, float]:
    everywhere = set.intersection(*(set(schemes) for schemes in choices.values() if len(schemes) > 1))
    return {
        scheme: total_damage(options, dict.fromkeys(options, scheme)) for scheme in ALLOCATED if scheme in everywhere
    }
