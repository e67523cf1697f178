"""The benchmark of the pixel head: a real run of tiny maps, and that all agree."""

import numpy as np
import pytest
from benchmark_runs import run

from benchmarks import pixel_head


@pytest.mark.full
def test_all_programs_of_the_look_ahead_give_the_same_scores():
    setting = pixel_head.smaller(pixel_head.SETTINGS["digit_scenes"], 8)
    programs = pixel_head.programs(setting._replace(pool_size=3, chunk_size=2))
    ours, autodiff, from_images, through_network = (
        np.asarray(programs[name].run(*programs[name].arguments))
        for name in (
            pixel_head.OURS,
            pixel_head.AUTODIFF,
            pixel_head.OURS_FROM_IMAGES,
            pixel_head.AUTODIFF_FROM_IMAGES,
        )
    )
    # A difference of two losses near 2 keeps no more digits.
    assert np.abs(ours).min() > 1e-4
    np.testing.assert_allclose(autodiff, ours, atol=1e-6)
    np.testing.assert_allclose(from_images, ours[:2], rtol=1e-4)
    np.testing.assert_allclose(through_network, ours[:2], atol=1e-6)


@pytest.mark.full
def test_a_pixel_head_run(tmp_path, capsys):
    written = run(
        pixel_head,
        tmp_path,
        *("--settings", "digit_scenes", "--divide-by", 16, "--repeats", 1),
    )
    rows = written["timings"]["digit_scenes"]
    assert {"iwps_pixel_head", "autodiff", "bald"} < rows.keys()
    assert all(min(row["seconds"]) > 0 for row in rows.values())
    ratios = written["ratios"]["digit_scenes"]
    assert [row["met"] is None for row in ratios] == [False, False, True, True]
    assert written["sizes"]["digit_scenes"]["height"] == 2
    assert "10x or more" in capsys.readouterr().out


def test_settings_that_do_not_exist_are_refused(capsys):
    with pytest.raises(SystemExit):
        pixel_head.main(["--settings", "streets"])
    assert "unknown value of --settings 'streets'" in capsys.readouterr().err
