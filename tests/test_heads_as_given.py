"""Heads as scikit-learn keeps them, with a temperature, behind a LayerNorm.

Multi-label data are refused by name.
"""

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy.special import expit, softmax

from iwps_jax.__main__ import main
from iwps_jax.app import naming
from iwps_jax.app.files import heads, readers
from iwps_jax.app.files.unreadable import FileError

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(60, 4)).astype(np.float32)
LABELS = (FEATURES[:, 0] + RNG.normal(size=60) > 0).astype(np.int64)
KERNEL, BIAS = RNG.normal(size=(4, 3)), RNG.normal(size=3)
LETTERS = np.array(["a"])


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("pool.npy", FEATURES[20:])
    np.savez("holdout.npz", features=FEATURES[:20], labels=LABELS[:20])
    return tmp_path


def run(command, *words):
    with pytest.raises(SystemExit) as end:
        main([command, *map(str, words)])
    return end.value.code


def refused(read, path):
    with pytest.raises(FileError) as error:
        read(path)
    return str(error.value)


def probabilities(head):
    return softmax(FEATURES @ head.kernel + head.bias, axis=1)


@pytest.fixture(scope="module")
def model():
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(FEATURES, LABELS)


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
@pytest.mark.parametrize("names", [("coef_", "intercept_"), ("kernel", "bias")])
def test_a_binary_model_of_scikit_learn_is_a_head(model, names, suffix):
    coef = model.coef_ if names[0] == "coef_" else model.coef_.T
    arrays = dict(
        zip(names, (np.ascontiguousarray(coef), model.intercept_), strict=True)
    )
    if suffix == "npz":
        np.savez("head.npz", **arrays)
    else:
        save_file(arrays, "head.safetensors")
    head = heads.read_head(f"head.{suffix}")
    assert head.kernel.shape == (4, 2) and head.kernel.dtype == np.float32
    np.testing.assert_allclose(
        probabilities(head), model.predict_proba(FEATURES), rtol=1e-5
    )
    z = FEATURES @ model.coef_[0] + model.intercept_[0]
    np.testing.assert_allclose(probabilities(head)[:, 1], expit(z), rtol=1e-5)


def test_a_model_of_three_classes_is_read_by_its_names():
    np.savez("head.npz", coef_=KERNEL.T, intercept_=BIAS)
    np.savez("ours.npz", kernel=KERNEL, bias=BIAS)
    for one, other in zip(*map(heads.read_head, ("head.npz", "ours.npz")), strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_column_is_read_as_the_two_that_it_stands_for(model):
    w, b = model.coef_.T, model.intercept_
    np.savez("one.npz", kernel=w, bias=b)
    np.savez("two.npz", kernel=np.hstack([np.zeros_like(w), w]), bias=[0, b[0]])
    for one, two in zip(*map(heads.read_head, ("one.npz", "two.npz")), strict=True):
        np.testing.assert_array_equal(one, two, strict=True)


def test_one_column_does_not_tell_three_classes_apart(model, capfd):
    np.savez("head.npz", coef_=model.coef_, intercept_=model.intercept_)
    np.savez("three.npz", features=FEATURES[:3], labels=[0, 2, 1])
    files = "--pool", "pool.npy", "--head", "head.npz", "--holdout", "three.npz"
    for command in (("score", "--k", 1), ("check",)):
        assert run(*command, *files) == 2
        told = capfd.readouterr().err
        assert "three.npz: labels must be 0 or 1, because one column of the" in told
        assert "got 2 in row 1: for more classes, the head needs a column" in told


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64])
def test_logits_are_divided_by_the_temperature(shape, kind):
    np.savez("head.npz", kernel=KERNEL, bias=BIAS, temperature=np.full(shape, 2, kind))
    expected = softmax((FEATURES @ KERNEL + BIAS) / 2, axis=1)
    found = probabilities(heads.read_head("head.npz"))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_one_column_has_a_temperature_too(model):
    arrays = {"coef_": model.coef_, "intercept_": model.intercept_}
    np.savez("head.npz", **arrays, temperature=0.5)
    z = FEATURES @ model.coef_[0] + model.intercept_[0]
    found = probabilities(heads.read_head("head.npz"))[:, 1]
    np.testing.assert_allclose(found, expit(2 * z), rtol=1e-5)


def test_a_layer_norm_is_folded_into_the_head():
    """Its scale and shift are; its centering and its division are not linear."""
    scale, shift = RNG.normal(size=4), RNG.normal(size=4)
    centered = FEATURES - FEATURES.mean(1, keepdims=True)
    normalized = centered / centered.std(1, keepdims=True)
    expected = (normalized * scale + shift) @ KERNEL + BIAS
    kernel, bias = scale[:, None] * KERNEL, BIAS + shift @ KERNEL
    np.savez("head.npz", kernel=kernel, bias=bias)
    head = heads.read_head("head.npz")
    np.testing.assert_allclose(normalized @ head.kernel + head.bias, expected, 1e-4)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"temperature": 0.0}, "temperature must be positive and finite in float32"),
        ({"temperature": -1.0}, "temperature must be positive and finite"),
        ({"temperature": np.nan}, "temperature must be positive and finite"),
        ({"temperature": np.inf}, "temperature must be positive and finite"),
        ({"temperature": 1e300}, "temperature must be positive and finite"),
        ({"temperature": 1e-37}, "kernel / temperature must be finite in float32"),
        ({"temperature": np.ones(3)}, "temperature must be one number, got shape (3,)"),
        ({"temperature": np.ones((1, 1))}, "temperature must be one number"),
        ({"temperature": True}, "temperature must be floating point or integers"),
        ({"temperature": LETTERS}, "a.npz"),
        ({"bias": np.float64(1)}, "bias must have 1 axis [classes], got shape ()"),
    ],
)
def test_heads_that_are_none_are_refused(arrays, sentence):
    arrays = {"kernel": 100 * KERNEL, "bias": BIAS} | arrays
    np.savez("a.npz", **arrays)
    assert sentence in refused(heads.read_head, "a.npz")


@pytest.mark.parametrize(
    ("coef", "intercept", "sentence"),
    [
        (KERNEL, BIAS, "coef_ must be [3, d] to match intercept_ of 3 classes, got [4"),
        (KERNEL, BIAS, "it looks like [d, classes]: save coef_.T."),
        (KERNEL[:, :1], BIAS[:1], "save coef_.T."),
        (KERNEL.T, BIAS[:1], "coef_ must be [1, d] to match intercept_ of 1 class"),
    ],
)
def test_coefficients_must_have_a_row_for_each_class(coef, intercept, sentence):
    np.savez("a.npz", coef_=coef, intercept_=intercept)
    assert sentence in refused(heads.read_head, "a.npz")


def test_a_half_named_head_says_what_is_missing():
    np.savez("a.npz", coef_=KERNEL.T)
    told = refused(heads.read_head, "a.npz")
    assert told == "a.npz must hold arrays called coef_ and intercept_, got coef_."


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.eye(4, dtype=int), "they are one-hot, save labels.argmax(axis=1)."),
        (np.eye(4, dtype=bool), "they are one-hot"),
        (np.eye(4) > 2, "they are multi-label, row 0 has 0 classes."),
        (np.tri(4), "they are multi-label, row 1 has 2 classes. Each sample must have"),
        (np.tri(4, dtype=np.uint8), "run a campaign for each class, with the labels"),
        (np.ones((4, 1), int), "save labels[:, 0]."),
        (2 * np.eye(4, dtype=int), "got shape (4, 4)."),
        (np.full((4, 2), np.nan), "got shape (4, 2)."),
        (np.zeros((4, 0), int), "got shape (4, 0)."),
        (np.zeros((4, 2, 2), int), "got shape (4, 2, 2)."),
        (np.int64(1), "got shape ()."),
    ],
)
def test_labels_of_another_shape_say_their_kind(labels, sentence):
    np.savez("a.npz", features=FEATURES[:4], labels=labels)
    told = refused(readers.read_holdout, "a.npz")
    assert told.startswith("a.npz: labels must have 1 axis [m] of class numbers")
    assert sentence in told
    assert ("multi-label" in told) == ("multi-label" in sentence or "run a" in sentence)


def test_several_classes_in_a_cell_are_multi_label(capfd):
    with open("labels.csv", "w") as file:
        file.write('id,label\n0,cat\n1,dog\n2,cat; dog\n3,"Paris, France"\n')
    with open("judged.csv", "w") as file:
        file.write("id,label\n5,cat\n6,dog\n")
    words = "--pool", "pool.npy", "--holdout", "judged.csv"
    for classes in ((), ("--classes", "cat,dog")):
        assert run("init", *words, "--labels", "labels.csv", *classes) == 2
        told = capfd.readouterr().err
        assert "labels.csv: line 4: " in told and "cat; dog" in told
        assert "multi-label" in told and "run a campaign for each class" in told


def test_a_class_may_have_a_comma_in_its_name():
    names = ("Paris, France", "Rome, Italy", "France")
    assert naming.classes_of(names, ["0"], [names[0]]) == [0]
    assert naming.several_in(names[0], {*names}) == []
    assert naming.several_in("cat|caf\u00e9", {"cat", "caf\u00e9"}) != []


def test_no_campaign_takes_several_classes_in_a_cell_for_a_new_class(capfd):
    assert run("init", "--pool", "pool.npy") == 0
    for number, (told, status) in enumerate(
        [("cat", 0), ("dog", 0), ("cat;dog", 2), ("cat;gnu", 0)]
    ):
        with open("labels.csv", "w") as file:
            file.write(f"id,label\n{number},{told}\n")
        words = "labels.csv", "--overwrite-labels"
        assert run("label", *words) == status
        assert ("multi-label" in capfd.readouterr().err) == (status == 2)
    assert run("label", *words, "--new-classes") == 0
