"""A campaign of seven events, in a folder beside its pool and ids."""

import numpy as np
import pytest

from iwps_jax.app.campaign import ask, folder, start, tell

SIZE = 500


@pytest.fixture(scope="module")
def seven_events():
    """One class labeled, so that nothing is fitted; nothing changes a state."""
    rng = np.random.default_rng(0)
    pool = rng.normal(size=(SIZE, 3)).astype(np.float32)
    ids = [f"sample {i:03}" for i in range(SIZE)]
    state = start(pool, pool[:4], np.arange(4) % 2, classes=("a", "ü"), ids=ids)
    for _ in range(3):
        state, asked = ask(state, 5)
        state = tell(state, asked[:-1], ["ü", "ü", "skip", None])
    return ask(state, 2)[0]


@pytest.fixture
def campaign(tmp_path, seven_events):
    """Its folder, beside its pool and ids, and the state."""
    state = seven_events
    np.save(tmp_path / "pool.npy", state.task.pool)
    (tmp_path / "ids.txt").write_text("\n".join(state.task.ids) + "\n")
    paths = folder.Paths(tmp_path / "pool.npy", tmp_path / "ids.txt")
    folder.create(tmp_path / "campaign", paths, state)
    return tmp_path / "campaign", state
