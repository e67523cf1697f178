"""A scan that was stopped goes on; the scan of something else is refused."""

import re

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
    with pytest.raises(ValueError, match="another pool or model"):
        top_k_of_pool(first_feature, iter([other]), 4, **kept)


def test_one_huge_score_does_not_hide_another_model(tmp_path):
    features = 1e-4 * some_features(1000)
    features[0] = 100
    top_k_of_pool(first_feature, features, 3, folder=tmp_path / "scan")
    with pytest.raises(ValueError, match="another pool or model"):
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
