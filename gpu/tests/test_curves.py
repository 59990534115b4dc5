"""Curves of a run as a picture: only losses are drawn as losses, and what is negative is not cut off."""

from __future__ import annotations

from flava_gpu.training.curves import draw_curves


def test_only_losses_are_drawn_in_the_panel_of_losses_each_group_of_metrics_has_its_own() -> None:
    watched = {"gradient_norm": 3.0, "seconds": 1.0, "temperature": 0.5, "teacher_entropy": 2.0, "teacher_spread": 0.1}
    points = [{"update": 1, "dino": 5.0, "reconstruction": 0.2, **watched}, {"update": 2, "dev_style": {"r1": 10.0}}]
    losses, dev = draw_curves(points, "a run").axes
    assert {line.get_label() for line in losses.lines} == {"dino", "reconstruction"}
    assert [line.get_label() for line in dev.lines] == ["r1"]


def test_losses_are_drawn_from_zero_and_those_below_it_whole() -> None:
    (above,) = draw_curves([{"update": update, "mlm": 5.0 - update} for update in range(3)], "a run").axes
    assert above.get_ylim()[0] == 0
    (below,) = draw_curves([{"update": update, "reconstruction": 1.0 - update} for update in range(3)], "a run").axes
    assert below.get_ylim()[0] < -1
