"""The README's promises, held to: its code runs, its commands are those of CI."""

import re
from pathlib import Path

import doc_pages
import numpy as np
import pytest
from PIL import Image

import iwps_jax
from iwps_jax.__main__ import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def write_files_of_the_first_block():
    """What a reader is said to have: features, head, holdout set and photos."""
    rng = np.random.default_rng(0)
    np.save("pool.npy", rng.normal(size=(220, 8)).astype(np.float32))
    np.savez("head.npz", kernel=rng.normal(size=(8, 3)), bias=np.zeros(3))
    holdout = rng.normal(size=(12, 8))
    np.savez("holdout.npz", features=holdout, labels=np.arange(12) % 3)
    Path("classes.txt").write_text("cat\ndog\nhorse\n")
    Path("photos").mkdir()
    for row in range(220):
        Image.new("L", (4, 4), row).save(f"photos/{row:03}.png")


def test_examples_run_one_after_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_files_of_the_first_block()
    scope = {}
    for block in doc_pages.blocks_of(README):
        if block.language == "python":
            exec(compile(block.text, "README.md", "exec"), scope)
        elif block.language == "bash" and block.text.startswith("iwps "):
            for command in doc_pages.commands_of(block):
                with pytest.raises(SystemExit) as end:
                    main(command)
                assert end.value.code == 0
    page = Path("picks.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") == 200
    assert Path("picks.csv").read_text().count("\n") == 1 + 2 * 200  # of two methods
    label_next = scope["label_next"].tolist()
    assert len(set(label_next)) == 200
    assert min(label_next) >= 100  # the first 100 rows are labeled
    rows, scores = scope["picks"]
    assert len(set(rows.tolist())) == 1000
    np.testing.assert_allclose(scores, scope["scores"][rows], rtol=0.05, atol=1e-6)


def test_the_test_command_is_what_ci_runs():
    setup, tests = [block for block in blocks("bash") if "pip install -e" in block]
    assert "python -m experiments.mnist_imbalanced" in setup
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    script = script.replace("--quiet --disable-pip-version-check ", "")
    for command in tests.strip().split(" && "):
        assert command in script.splitlines()


def test_every_public_function_has_a_row():
    public = {
        name for name in iwps_jax.__all__ if callable(getattr(iwps_jax, name))
    } - {"LoopState", "RoundInfo"}
    assert {name for name in public if f"`{name}" not in README} == set()


def test_files_it_shows_exist():
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path
