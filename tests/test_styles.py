"""Names and styles: stay apart for normal and for color-blind eyes, known or not."""

import itertools

import numpy as np
import pytest
from color_vision import lab_of

from experiments.reporting import pick_plots, plots, styles

VARIANTS = (
    *("iwps_holdout_1", "iwps_holdout_5", "iwps_holdout_10", "iwps_holdout_20"),
    *("iwps_full", "iwps_on_training"),
    *("iwps_app_holdout_1", "iwps_app_holdout_5", "iwps_app_holdout_10"),
    *("iwps_app_holdout_20", "iwps_app_full", "iwps_app_on_training"),
)

SEEN_BY = ("normal", "protanopia", "deuteranopia")


@pytest.mark.parametrize("vision", SEEN_BY)
def test_methods_stay_apart_by_color_and_by_marker(vision):
    known = styles.STYLES.values()
    assert len({s.marker for s in known}) == len(known)
    labs = [lab_of(s.color, vision) for s in known]
    # 2.3 is a difference just noticed side by side; lines need several times that.
    for one, other in itertools.combinations(labs, 2):
        assert np.linalg.norm(one - other) > 15


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("iwps_holdout_5", "IWPS, holdout 5"),
        ("iwps_full", "IWPS, full network"),
        ("iwps_app_full", "IWPS-app, full network"),
        ("iwps_on_training", "IWPS, training subset"),
        ("iwps_app_on_training", "IWPS-app, training subset"),
        ("iwps_app_holdout_20", "IWPS-app, holdout 20"),
        ("iwps_steps_10", "IWPS, steps 10"),
        ("iwps_app", "IWPS-app"),
        ("iwpsx", "iwpsx"),
        ("prototypes", "prototypes"),
    ],
)
def test_names_of_variants(method, name):
    assert styles.display_name(method) == name
    assert styles.style_of(method).label == name


@pytest.mark.parametrize(
    "methods", [VARIANTS, ("iwps", "random", *VARIANTS[:5], "a", "b", "c", "d", "e")]
)
def test_a_dozen_unknown_methods_can_be_told_apart(methods):
    chosen = styles.styles_of(methods)
    assert list(chosen) == list(methods)
    assert len({s.marker for s in chosen.values()}) == 12
    assert len({s.color for s in chosen.values()}) == 12
    assert {s.marker for s in chosen.values()} <= set(styles.SPARE_MARKERS) | {"*"}
    for method in set(methods) & set(styles.STYLES):
        assert chosen[method] == styles.STYLES[method]


@pytest.mark.parametrize("vision", SEEN_BY)
@pytest.mark.parametrize("family", [VARIANTS[:6], VARIANTS[6:]])
def test_colors_of_a_family_run_from_light_to_dark(vision, family):
    chosen = styles.styles_of(family)
    labs = [
        lab_of(chosen[m].color, vision) for m in sorted(family, key=styles._natural)
    ]
    lightness = [lab[0] for lab in labs]
    assert lightness == sorted(lightness, reverse=True)
    for one, other in itertools.pairwise(labs):
        assert np.linalg.norm(one - other) > 8


def test_holdouts_are_in_the_order_of_their_sizes():
    holdouts = ["iwps_holdout_20", "iwps_holdout_5", "iwps_holdout_100"]
    colors = [s.color for s in styles.styles_of(holdouts).values()]
    first, _, last = styles.FAMILIES["iwps"].variants
    assert colors == [styles.FAMILIES["iwps"].variants[1], first, last]


def test_long_names_fit_into_the_curves():
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    curve = plots.Curve(np.arange(3), np.linspace(0.1, 0.9, 3), np.full(3, 0.01))
    curves = dict.fromkeys(VARIANTS, curve)
    original = plots.to_png
    try:
        plots.to_png = lambda figure: drawn.append(figure) or original(figure)
        plots.curves_png(curves, curves, "title")
    finally:
        plots.to_png = original
    (figure,) = drawn
    renderer = figure.canvas.get_renderer()
    left, right = figure.axes
    for axes, limit in (
        (left, right.get_tightbbox(renderer, for_layout_only=True).x0 + 8),
        (right, figure.bbox.x1),
    ):
        names = [t for t in axes.texts if t.get_text()]
        assert len(names) == 12
        assert max(t.get_window_extent(renderer).x1 for t in names) <= limit


def test_a_long_name_takes_two_lines_beside_the_picks():
    one = pick_plots.Picks(
        np.zeros((1, 4, 4, 1), np.uint8), np.array([1]), np.array([1])
    )
    png = pick_plots.selected_png({m: one for m in VARIANTS}, "0123456789", "title")
    assert png.startswith(b"\x89PNG")
