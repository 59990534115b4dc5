"""What is classified without training: emoji groups and subgroups in the held-out style, and handwritten digits."""

from __future__ import annotations

from collections.abc import Sequence

from flava_gpu.evaluation.emoji import Picture
from flava_gpu.evaluation.emoji_tasks import Label, emoji_task
from flava_gpu.evaluation.tasks import Splits, Task
from flava_gpu.evaluation.zero_shot import ZeroShotTask

GROUP_NAMES = {
    "smileys-emotion": ("face", "emotion"),
    "people-body": ("person", "body"),
    "animals-nature": ("animal", "plant"),
    "food-drink": ("food", "drink"),
    "travel-places": ("vehicle", "place", "weather"),
    "activities": ("sport", "game", "celebration"),
    "objects": ("object", "tool", "clothing"),
    "symbols": ("symbol", "sign", "button"),
    "flags": ("flag",),
}
"""Plain words for Unicode's groups, written down once and never tuned."""
DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def zero_shot_emoji(label: Label, pictures: Sequence[Picture]) -> ZeroShotTask:
    """Subgroups are called as Unicode calls them, without the hyphens."""
    task = emoji_task(label, pictures)
    names = [GROUP_NAMES.get(name, (name.replace("-", " "),)) for name in task.labels]
    return ZeroShotTask(task.name, f"{task.about}, from its name alone", names, lambda: only_splits(task))


def zero_shot_digits(task: Task) -> ZeroShotTask:
    names = [(f"the digit {word}", f"the number {digit}") for digit, word in enumerate(DIGIT_NAMES)]
    return ZeroShotTask(task.name, f"{task.about}, from their names alone", names, lambda: only_splits(task))


def only_splits(task: Task) -> Splits:
    (splits,) = task.checked_splits()
    return splits
