"""A scan that was stopped goes on; the scan of something else is refused."""

import re
import shutil
from functools import partial

import jax
import numpy as np
import pytest
from some_pools import Counted, best, first_feature, some_features

from iwps_jax import PoolError, top_k_of_pool
from iwps_jax.pool import resume

# Going on


def interrupted_then_finished(pool, folder, score=first_feature, **kept):
    """Picks of a scan that stops at a broken row, then of one that goes on."""
    pool.broken_at = 60
    with pytest.raises(PoolError):
        top_k_of_pool(score, pool, 9, folder=folder, **kept)
    pool.broken_at, pool.read = None, []
    return top_k_of_pool(score, pool, 9, folder=folder, **kept)


def test_a_scan_goes_on_where_it_stopped(tmp_path):
    features = some_features(100)
    pool = Counted(features)
    top = interrupted_then_finished(
        pool, tmp_path / "scan", chunk_size=8, devices=jax.devices()[:1]
    )
    assert top.rows.tolist() == best(features[:, 0], 9).tolist()
    probes = sorted(np.linspace(0, 99, 16).astype(int))
    assert sorted(pool.read) == sorted([0, *probes, *range(56, 100)])


def test_with_other_chunks_and_devices_too_and_again(tmp_path):
    features, folder = some_features(100), tmp_path / "scan"
    pool = Counted(features)
    expected = best(features[:, 0], 9).tolist()
    interrupted_then_finished(pool, folder, chunk_size=8, devices=jax.devices()[:1])
    pool.broken_at = 60
    for path in folder.glob("rows_from_5*"):
        path.unlink()  # as if the second attempt had been killed
    with pytest.raises(PoolError):
        top_k_of_pool(first_feature, pool, 9, folder=folder, chunk_size=1)
    pool.broken_at = None
    top = top_k_of_pool(first_feature, pool, 9, folder=folder, chunk_size=3)
    assert top.rows.tolist() == expected
    pool.read = []
    again = top_k_of_pool(first_feature, pool, 9, folder=folder)
    assert again.rows.tolist() == expected and len(pool.read) == 17


def test_a_stream_goes_on_too(tmp_path):
    features = some_features(50)

    def chunks(broken):
        for start in range(0, 50, 10):
            if broken and start == 30:
                raise OSError("connection lost")
            yield features[start : start + 10]

    kept = dict(chunk_size=10, folder=tmp_path / "scan", devices=jax.devices()[:1])
    with pytest.raises(PoolError):
        top_k_of_pool(first_feature, chunks(broken=True), 4, **kept)
    for _ in range(2):
        top = top_k_of_pool(first_feature, chunks(broken=False), 4, **kept)
        assert top.rows.tolist() == best(features[:, 0], 4).tolist()


def test_no_picks_before_the_nan_is_mended(tmp_path):
    features = some_features(100)
    mended = features[70].copy()
    features[70] = np.nan
    kept = dict(folder=tmp_path / "scan", chunk_size=2)
    for _ in range(2):
        with pytest.raises(PoolError, match=": 70"):
            top_k_of_pool(first_feature, features, 5, **kept)
    features[70] = mended
    top = top_k_of_pool(first_feature, features, 5, **kept)
    assert top.rows.tolist() == best(features[:, 0], 5).tolist()


@pytest.mark.parametrize("change", ["k", "where", "size", "model", "pool"])
def test_the_folder_of_another_scan_is_refused(tmp_path, change):
    features, weights = some_features(100), some_features(8, width=1)[:, 0]
    arguments = {"score_fn": lambda rows: rows @ weights, "pool": features, "k": 5}
    top_k_of_pool(**arguments, folder=tmp_path / "scan")
    changed = {
        "k": {"k": 6},
        "where": {"where": np.arange(100) > 0},
        "size": {"pool": features[:99]},
        "model": {"score_fn": lambda rows: rows @ (1.01 * weights)},
        "pool": {"pool": features[::-1]},
    }
    with pytest.raises(ValueError, match=f"another ({change}|pool or model)"):
        top_k_of_pool(**(arguments | changed[change]), folder=tmp_path / "scan")


def shifted(rows, weights, *, shift, key=None):
    return rows @ weights + shift


def test_slightly_other_settings_are_refused(tmp_path):
    features, weights = some_features(100), some_features(8, width=1)[:, 0]
    kept = dict(pool=features, k=5, folder=tmp_path / "scan")
    settings = {"weights": weights, "shift": 0.001, "key": jax.random.key(0)}
    first = top_k_of_pool(partial(shifted, **settings), **kept)
    last = weights.copy()
    last[-1] = np.nextafter(last[-1], np.float32(9))
    for change in (
        {"shift": 0.0010001},
        {"shift": np.float32(0.001)},
        {"weights": last},
        {"weights": weights.astype(np.float64)},
        {"key": jax.random.key(1)},
    ):
        with pytest.raises(ValueError, match="another model or setting:"):
            top_k_of_pool(partial(shifted, **(settings | change)), **kept)
    shift = 0.001
    with pytest.raises(ValueError, match="another model or setting:"):
        top_k_of_pool(lambda rows: rows @ weights + shift, **kept)
    again = top_k_of_pool(partial(shifted, **settings), **kept, chunk_size=8)
    assert again.rows.tolist() == first.rows.tolist()


def test_what_a_function_closes_over_is_a_setting(tmp_path):
    kept = dict(pool=some_features(100), k=5, folder=tmp_path / "scan")

    def score(shift):
        inner = {"by": [shift, jax.jit(lambda rows: rows + shift)]}
        return lambda rows: inner["by"][1](rows)[:, 0]

    top_k_of_pool(score(0.0), **kept)
    top_k_of_pool(score(0.0), **kept)
    with pytest.raises(ValueError, match="another model or setting:"):
        top_k_of_pool(score(1e-9), **kept)


@pytest.mark.parametrize("change", ["noise", "type"])
def test_a_pool_that_scores_alike_is_refused(tmp_path, change):
    features = some_features(100)
    other = {"noise": features * np.float32(1 + 1e-6), "type": features.astype(float)}
    kept = dict(k=5, folder=tmp_path / "scan")
    top_k_of_pool(first_feature, features, **kept)
    with pytest.raises(ValueError, match="another pool:"):
        top_k_of_pool(first_feature, other[change], **kept)


def test_an_edited_part_is_refused_and_scored_again_without_it(tmp_path):
    features = some_features(100)
    kept = dict(k=5, folder=tmp_path / "scan")
    expected = top_k_of_pool(first_feature, features, **kept)
    (part,) = (tmp_path / "scan").glob("rows_from_*.npz")
    content = dict(np.load(part))
    for name in ("scores", "rows", "spans"):
        np.savez(part, **(content | {name: content[name] * 0 - 1}))
        with pytest.raises(ValueError, match=f"{part.name} is damaged .*: delete it"):
            top_k_of_pool(first_feature, features, **kept)
    part.unlink()
    again = top_k_of_pool(first_feature, features, **kept)
    assert again.rows.tolist() == expected.rows.tolist()


def test_parts_of_another_scan_are_refused(tmp_path):
    features = some_features(100)
    for folder, score in (("one", lambda rows: rows[:, 1]), ("two", first_feature)):
        top_k_of_pool(score, features, 5, folder=tmp_path / folder)
    shutil.copy(tmp_path / "one" / "rows_from_0.npz", tmp_path / "two")
    with pytest.raises(ValueError, match="rows_from_0.npz is damaged"):
        top_k_of_pool(first_feature, features, 5, folder=tmp_path / "two")


@pytest.mark.parametrize("row", [0, 50, 99])  # the first and the last are probed
@pytest.mark.parametrize("damage", ["NaN", "wrong", "unreadable"])
def test_a_mended_row_lets_the_scan_go_on(tmp_path, row, damage):
    features = some_features(100)
    pool = Counted(features.copy(), broken_at=row if damage == "unreadable" else None)
    kept = dict(folder=tmp_path / "scan", chunk_size=8, devices=jax.devices()[:1])
    pool.array[row] = {"NaN": np.nan, "wrong": -7}.get(damage, features[row])
    if damage != "wrong":
        for _ in range(2):
            with pytest.raises(PoolError, match=rf"row.* {row}\b|rows"):
                top_k_of_pool(first_feature, pool, 5, **kept)
    else:
        pool.broken_at = 99
        with pytest.raises(PoolError):
            top_k_of_pool(first_feature, pool, 5, **kept)
    pool.array[:], pool.broken_at = features, None
    if damage == "unreadable" and row == 0:  # of which even the shape is unknown
        kept["folder"] = tmp_path / "new"
    top = top_k_of_pool(first_feature, pool, 5, **kept)
    if damage != "wrong" or row > 96:
        assert top.rows.tolist() == best(features[:, 0], 5).tolist()


def test_another_stream_is_refused(tmp_path):
    features = some_features(50)
    other = features.copy()
    other[1:] += 5
    kept = dict(folder=tmp_path / "scan", chunk_size=8)
    top_k_of_pool(first_feature, iter([features]), 4, **kept)
    with pytest.raises(ValueError, match="another pool:"):
        top_k_of_pool(first_feature, iter([other]), 4, **kept)


def test_one_huge_score_does_not_hide_another_model(tmp_path):
    features = 1e-4 * some_features(1000)
    features[0] = 100
    top_k_of_pool(first_feature, features, 3, folder=tmp_path / "scan")
    with pytest.raises(ValueError, match="another model or setting:"):
        top_k_of_pool(lambda rows: rows[:, 1], features, 3, folder=tmp_path / "scan")


@pytest.mark.parametrize("name", ["scan.json", "rows_from_0.npz"])
@pytest.mark.parametrize("content", [b"", b"PK", b"{}", b"[1]"])
def test_a_damaged_record_is_named(tmp_path, name, content):
    features = some_features(10)
    top_k_of_pool(first_feature, features, 3, folder=tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} (cannot be read|is damaged)"):
        top_k_of_pool(first_feature, features, 3, folder=tmp_path)


def test_numpy_integers_are_integers(tmp_path, without_jaxtyping):
    kept = dict(folder=tmp_path / "scan", chunk_size=np.int32(4))
    top = top_k_of_pool(first_feature, some_features(10), np.int64(3), **kept)
    assert len(top.rows) == 3


def test_a_mask_of_all_rows_is_no_mask(tmp_path):
    kept = dict(folder=tmp_path / "scan")
    top = top_k_of_pool(first_feature, some_features(10), 3, **kept)
    masked = dict(where=np.ones(10, bool), **kept)
    again = top_k_of_pool(first_feature, some_features(10), 3, **masked)
    assert again.rows.tolist() == top.rows.tolist()


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="other files"):
        top_k_of_pool(first_feature, some_features(5), 1, folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


# Progress


def test_progress_is_shown_where_asked(capsys):
    top_k_of_pool(first_feature, some_features(3000), 2, show_progress=True)
    assert re.search(r"3,000 of 3,000", capsys.readouterr().err)
    top_k_of_pool(first_feature, some_features(3000), 2)
    assert capsys.readouterr() == ("", "")


def test_saves_are_a_second_apart(tmp_path, monkeypatch):
    saves = []
    monkeypatch.setattr(resume, "_save", lambda *finished: saves.append(1))
    top_k_of_pool(first_feature, some_features(300), 2, chunk_size=1, folder=tmp_path)
    assert len(saves) < 30
