"""Other libraries' models give the scores that those libraries' own gradients do."""

from functools import partial
from pathlib import Path

import doc_pages
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression

from iwps_jax import (
    dense_layers,
    holdout_gradient,
    iwps,
    iwps_app,
    iwps_last_layer,
    iwps_mlp,
    top_k,
    top_k_of_pool,
)
from iwps_jax.app.files.heads import read_head
from iwps_jax.app.files.readers import read_pool

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


def defined_in(page, text):
    """What the block of a page with this text defines, without the other blocks."""
    blocks = doc_pages.blocks_of((EXAMPLES / page).read_text(encoding="utf-8"))
    (block,) = [block for block in blocks if text in block.text]
    scope = {"np": np}
    exec(block.text, scope)
    return scope


def some_data(num_classes, size=60, dim=5):
    """Features, float32, whose classes overlap; a third of them for the holdout set."""
    rng = np.random.default_rng(0)
    labels = np.arange(size) % num_classes
    features = rng.normal(size=(size, dim)) + 0.8 * np.eye(num_classes, dim)[labels]
    return np.float32(features), labels


# scikit-learn


def test_two_named_classes_are_two_columns():
    page = defined_in("scikit_learn.md", "def head_of")
    features, labels = some_data(2)
    names = np.array(["cat", "dog"])[labels]
    model = LogisticRegression().fit(features, names)
    kernel, bias = page["head_of"](model)
    assert kernel.shape == (5, 2) and bias.shape == (2,)
    probabilities = softmax(features @ kernel + bias, axis=-1)
    np.testing.assert_allclose(probabilities, model.predict_proba(features), atol=1e-6)
    assert (page["columns_of"](names, model) == labels).all()
    with pytest.raises(ValueError, match="every class"):
        page["columns_of"](np.array(["cat", "emu"]), model)


def test_two_columns_move_the_logit_twice_as_far_as_one_row():
    features, labels = some_data(2)
    model = LogisticRegression().fit(features[20:], labels[20:])
    kernel, bias = defined_in("scikit_learn.md", "def head_of")["head_of"](model)

    def loss(weight, offset):  # of the sigmoid, on the holdout set
        logits = features[:20] @ weight + offset
        return np.logaddexp(0, np.where(labels[:20] == 1, -logits, logits)).mean()

    weight, offset = np.float64(model.coef_[0]), np.float64(model.intercept_[0])
    expected = []
    for sample in np.float64(features[20:]):
        label = float(sample @ weight + offset > 0)
        moved, moved_offset = weight, offset
        for _ in range(3):
            residual = label - expit(sample @ moved + moved_offset)
            moved = moved + 0.1 * residual * sample
            moved_offset = moved_offset + 0.1 * residual
        expected.append(loss(moved, moved_offset) - loss(weight, offset))
    scores = iwps_last_layer(
        features[20:], kernel, bias, features[:20], labels[:20], learning_rate=0.05
    )
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-7)


# scikit-activeml

MISSING = {"numbers": np.nan, "names": None}


@pytest.fixture(scope="module")
def look_ahead():
    return defined_in("scikit_activeml.md", "class LookAhead")["LookAhead"]


def query_of(kind, num_classes=3):
    """Arguments of a query: a third of the rows labeled, a third the holdout set."""
    from skactiveml.classifier import SklearnClassifier

    features, labels = some_data(num_classes)
    classes = np.arange(num_classes) if kind == "numbers" else list("abc")[:num_classes]
    known = np.array(classes)[labels]
    X, y = features[20:], known[20:].astype(float if kind == "numbers" else object)
    y[20:] = MISSING[kind]
    clf = SklearnClassifier(
        LogisticRegression(), classes=classes, missing_label=MISSING[kind]
    )
    return dict(X=X, y=y, clf=clf, X_holdout=features[:20], y_holdout=known[:20])


@pytest.mark.parametrize("kind", MISSING)
@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_strategy_picks_the_rows_of_top_k(look_ahead, kind, num_classes):
    query = query_of(kind, num_classes)
    strategy = look_ahead(missing_label=MISSING[kind], random_state=0)
    picks, utilities = strategy.query(**query, batch_size=4, return_utilities=True)

    model = LogisticRegression().fit(query["X"][:20], query["y"][:20].astype(str))
    head = defined_in("scikit_learn.md", "def head_of")["head_of"](model)
    labels = np.unique(query["y_holdout"], return_inverse=True)[1]
    scores = iwps_last_layer(query["X"], *head, query["X_holdout"], labels)
    assert picks.tolist() == top_k(scores, 4, where=np.arange(40) >= 20).tolist()
    assert utilities.shape == (4, 40)
    assert np.isnan(utilities[0, :20]).all()
    np.testing.assert_allclose(utilities[0, 20:], scores[20:], rtol=1e-4)
    for step, pick in enumerate(picks[:-1]):  # never the same row twice
        assert np.isnan(utilities[step + 1 :, pick]).all()


def test_the_strategy_takes_candidates_as_rows_and_as_samples(look_ahead):
    query = query_of("numbers")
    ask = partial(look_ahead(random_state=0).query, **query, return_utilities=True)
    _, everything = ask()
    rows = np.array([25, 31, 22])
    (pick,), some = ask(candidates=rows)
    assert pick == rows[everything[0, rows].argmax()]
    assert np.isnan(np.delete(some[0], rows)).all()
    np.testing.assert_array_equal(some[0, rows], everything[0, rows])
    (place,), given = ask(candidates=query["X"][rows])
    assert rows[place] == pick
    np.testing.assert_allclose(given[0], everything[0, rows], rtol=1e-4)


def test_the_strategy_leaves_the_classifier_as_it_was(look_ahead):
    query = query_of("numbers")
    look_ahead().query(**query)
    assert not hasattr(query["clf"], "estimator_")
    fitted = query["clf"].fit(query["X"], query["y"])
    coefficients = fitted.estimator_.coef_.copy()
    without = look_ahead(random_state=0).query(**query, fit_clf=False)
    assert without == look_ahead(random_state=0).query(**query)
    assert (fitted.estimator_.coef_ == coefficients).all()


def test_the_strategy_refuses_what_has_no_head(look_ahead):
    from skactiveml.classifier import ParzenWindowClassifier

    query = query_of("numbers")
    with pytest.raises(TypeError, match="clf"):
        look_ahead().query(**query | {"clf": ParzenWindowClassifier(classes=range(3))})
    one_is_missing = np.where(query["y"] == 2, np.nan, query["y"])
    with pytest.raises(ValueError, match="every class"):
        look_ahead().query(**query | {"y": one_is_missing})
    with pytest.raises(ValueError, match="no other"):
        look_ahead().query(**query | {"y_holdout": np.full(20, 7)})


# Networks in JAX: the same numbers, kept by three libraries


class EquinoxNetwork(eqx.Module):
    hidden: eqx.nn.Linear
    dropout: eqx.nn.Dropout
    head: eqx.nn.Linear

    def __call__(self, x):
        return self.head(self.dropout(jax.nn.relu(self.hidden(x))))


class NNXNetwork(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(5, 8, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.head = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.head(self.dropout(jax.nn.relu(self.hidden(x))))


@pytest.fixture(scope="module")
def network():
    """Layers, and the network of them as (apply_fn, params) of each library."""
    rng = np.random.default_rng(1)
    layers = [
        (np.float32(rng.normal(size=shape)), np.float32(rng.normal(size=shape[1])))
        for shape in ((5, 8), (8, 3))
    ]
    as_flax = {
        name: {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
        for name, (kernel, bias) in zip(("hidden", "head"), layers, strict=True)
    }

    model = linen.Sequential([linen.Dense(8), linen.relu, linen.Dense(3)])
    of_linen = {"layers_0": as_flax["hidden"], "layers_2": as_flax["head"]}

    def apply_linen(params, x):
        return model.apply({"params": params}, x)

    made = nnx.view(NNXNetwork(nnx.Rngs(0)), deterministic=True)
    graphdef, of_nnx, rest = nnx.split(made, nnx.Param, ...)
    nnx.replace_by_pure_dict(of_nnx, as_flax)

    def apply_nnx(params, x):
        return nnx.merge(graphdef, params, rest)(x)

    first, last = (
        eqx.tree_at(
            lambda layer: (layer.weight, layer.bias),
            eqx.nn.Linear(*kernel.shape, key=jax.random.key(0)),
            (jnp.asarray(kernel.T), jnp.asarray(bias)),
        )
        for kernel, bias in layers
    )
    module = eqx.nn.inference_mode(EquinoxNetwork(first, eqx.nn.Dropout(0.5), last))
    of_equinox, static = eqx.partition(module, eqx.is_inexact_array)

    def apply_equinox(params, x):
        return jax.vmap(eqx.combine(params, static))(x)

    return layers, {
        "linen": (apply_linen, of_linen),
        "nnx": (apply_nnx, of_nnx),
        "equinox": (apply_equinox, of_equinox),
    }


@pytest.mark.parametrize("library", ["linen", "nnx", "equinox"])
def test_a_network_scores_alike_whatever_keeps_it(network, library):
    layers, kept = network
    apply_fn, params = kept[library]
    features, labels = some_data(3)
    pool, holdout = features[20:], (features[:20], labels[:20])
    np.testing.assert_allclose(
        iwps(apply_fn, params, pool, *holdout),
        iwps_mlp(layers, pool, *holdout),
        rtol=1e-4,
        atol=1e-8,
    )
    gradient = holdout_gradient(apply_fn, params, *holdout)
    small_step = iwps_mlp(layers, pool, *holdout, steps=1, learning_rate=1e-5) / 1e-5
    np.testing.assert_allclose(
        iwps_app(apply_fn, params, pool, gradient), small_step, rtol=1e-2, atol=1e-4
    )


@pytest.mark.parametrize("library", ["linen", "nnx"])
def test_flax_parameters_show_their_layers(network, library):
    layers, kept = network
    apply_fn, params = kept[library]
    features, _ = some_data(3)
    if library == "nnx":
        params = nnx.to_pure_dict(params)
    for found, expected in zip(
        dense_layers(apply_fn, params, features[:4]), layers, strict=True
    ):
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


# PyTorch


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def test_memory_passes_from_torch_and_back(torch):
    tensor = torch.randn(64, 48)
    for shared in (tensor, tensor.T, tensor.half(), tensor.bfloat16()):
        array = jnp.from_dlpack(shared)
        assert array.unsafe_buffer_pointer() == shared.data_ptr()
        assert array.shape == tuple(shared.shape)
        np.testing.assert_array_equal(np.float32(array), shared.float().numpy())
        back = torch.from_dlpack(array)
        assert back.data_ptr() == shared.data_ptr() and torch.equal(back, shared)


def test_what_a_clone_protects_from(torch):
    layer = torch.nn.Linear(48, 64)
    shared = jnp.from_dlpack(layer.weight.detach())
    cloned = jnp.from_dlpack(layer.weight.detach().clone())
    with torch.no_grad():
        layer.weight.zero_()
    assert (np.asarray(shared) == 0).all() and (np.asarray(cloned) != 0).any()


def torch_network(torch, layers):
    modules = []
    for kernel, bias in layers:
        modules += [torch.nn.Linear(*kernel.shape), torch.nn.ReLU()]
        with torch.no_grad():
            modules[-2].weight.copy_(torch.from_numpy(kernel.T))
            modules[-2].bias.copy_(torch.from_numpy(bias))
    return torch.nn.Sequential(*modules[:-1])


def look_ahead_of(torch, network, rows, holdout, labels, learning_rate):
    """The change of the holdout loss after three steps of PyTorch, in float64."""
    import copy

    cross_entropy = torch.nn.functional.cross_entropy
    holdout, labels = torch.from_numpy(holdout).double(), torch.from_numpy(labels)
    changes = []
    for row in torch.from_numpy(rows).double():
        moved = copy.deepcopy(network).double()
        before = cross_entropy(moved(holdout), labels).item()
        prediction = moved(row[None]).argmax(-1)
        sgd = torch.optim.SGD(moved.parameters(), learning_rate)
        for _ in range(3):
            sgd.zero_grad()
            cross_entropy(moved(row[None]), prediction).backward()
            sgd.step()
        changes.append(cross_entropy(moved(holdout), labels).item() - before)
    return np.array(changes)


def test_the_look_ahead_is_that_of_torch(torch, network):
    layers, _ = network
    features, labels = some_data(3)
    model = torch_network(torch, layers)
    given = features[20:25], features[:20], labels[:20]
    np.testing.assert_allclose(
        iwps_mlp(layers, *given),
        look_ahead_of(torch, model, *given, 1e-3),
        rtol=1e-4,
        atol=1e-9,
    )
    with torch.no_grad():
        hidden = model[:2](torch.from_numpy(features)).numpy()
    head = (
        jnp.from_dlpack(part.detach()) for part in (model[2].weight.T, model[2].bias)
    )
    given = hidden[20:25], hidden[:20], labels[:20]
    np.testing.assert_allclose(
        iwps_last_layer(given[0], *head, *given[1:]),
        look_ahead_of(torch, model[2], *given, 1e-3),
        rtol=1e-4,
        atol=1e-9,
    )


def test_a_loader_is_a_pool(torch):
    from torch.utils.data import DataLoader, TensorDataset

    features, labels = some_data(3)
    score = partial(
        iwps_last_layer,
        kernel=np.eye(5, 3, dtype=np.float32),
        bias=np.zeros(3, np.float32),
        holdout_features=features[:20],
        holdout_labels=labels[:20],
    )
    loader = DataLoader(TensorDataset(torch.from_numpy(features)), batch_size=16)
    picks = top_k_of_pool(score, (chunk for (chunk,) in loader), 7)
    expected = top_k_of_pool(score, features, 7)
    assert picks.rows.tolist() == expected.rows.tolist()
    np.testing.assert_allclose(picks.scores, expected.scores, rtol=1e-5)


def test_files_of_torch_are_read(torch, tmp_path):
    from safetensors.torch import save_file

    layer, pool = torch.nn.Linear(5, 3), torch.randn(20, 5).bfloat16()
    kernel = layer.weight.detach().T.contiguous()
    path = tmp_path / "head.safetensors"
    save_file({"kernel": kernel, "bias": layer.bias.detach()}, path)
    save_file({"features": pool}, tmp_path / "pool.safetensors")
    head = read_head(path)
    read = np.float32(read_pool(tmp_path / "pool.safetensors")[3:9])
    np.testing.assert_array_equal(read, pool[3:9].float().numpy())
    logits = pool.float() @ kernel + layer.bias.detach()
    np.testing.assert_allclose(
        np.float32(pool.float().numpy()) @ head.kernel + head.bias, logits, rtol=1e-5
    )
