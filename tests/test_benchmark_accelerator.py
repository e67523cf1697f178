"""The command for accelerators: its parts, what a cut run keeps, and its traps."""

import json
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from benchmark_runs import run
from command_output import words

from benchmarks import accelerator, accelerator_parts, dialect
from benchmarks import accelerator_checks as checks
from benchmarks.accelerator_checks import Check
from benchmarks.accelerator_parts import Part

KEEPS = "import json, sys\nout, entry = sys.argv[1:]\nd = json.load(open(out))\n"
KEEPS += "d.update(json.loads(entry)) if 'machine' in entry else "
KEEPS += "d['parts'].update(json.loads(entry))\njson.dump(d, open(out, 'w'))\n"
ENDS = {
    "well": "",
    "badly": "raise ValueError('too hot')",
    "silently": "sys.exit(3)",
    "never": "import time\ntime.sleep(60)",
}


@pytest.fixture
def made_up_parts(monkeypatch):
    """Parts that keep a number and end as their names say, on a platform."""

    def use(platform, **seconds):
        def command_of(part, out, smoke):
            kept = {part: {"results": {"number": 1}}}
            if part == accelerator.MACHINE:
                kept = {part: {"device": "X1", "jax": "1", "platform": platform}}
            code = KEEPS + ENDS.get(part, "")
            return [sys.executable, "-c", code, str(out), json.dumps(kept)]

        monkeypatch.setattr(accelerator, "command_of", command_of)
        made = {name: Part(None, limit) for name, limit in seconds.items()}
        monkeypatch.setattr(accelerator, "PARTS", made)
        # What a fast start leaves is for others.
        monkeypatch.setattr(accelerator, "USUAL_PROBE_SECONDS", 0)

    return use


def test_parts_that_fail_or_hang_leave_the_others_alone(
    made_up_parts, tmp_path, capsys
):
    made_up_parts("gpu", badly=20, never=-18, silently=30, well=20)
    out = tmp_path / "new" / "numbers.json"
    with pytest.raises(SystemExit) as exit_:
        accelerator.main(["--out", str(out), "--parts", "badly,never,silently,well"])
    assert exit_.value.code == 1
    written = json.loads(out.read_text())
    assert written["machine"]["device"] == "X1"
    assert {n: p["status"] for n, p in written["parts"].items()} == {
        **{"badly": "failed", "never": "cut", "silently": "failed", "well": "done"}
    }
    assert all(p["results"] == {"number": 1} for p in written["parts"].values())
    errors = {n: p.get("error") for n, p in written["parts"].items()}
    assert errors["badly"] == "ValueError: too hot"
    assert errors["silently"] == "exit status 3"
    assert errors["never"].startswith("not ended after ")
    assert errors["well"] is None
    assert "too hot" in words(capsys.readouterr().out)


def test_a_check_that_is_not_met_is_told():
    part = {"results": {"checks": {"bald": {"met": True}, "margin": {"met": False}}}}
    assert accelerator.missed(part) == ["margin"]
    assert accelerator.missed({"status": "failed"}) == []


def test_all_parts_together_end_in_eight_minutes():
    longest = sum(part.seconds for part in accelerator_parts.PARTS.values())
    assert longest + accelerator.USUAL_PROBE_SECONDS < 480


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ("well", "JAX sees a CPU only; --smoke runs all parts at tiny sizes"),
        ("well,wel", "unknown value of --parts 'wel': did you mean 'well'?"),
    ],
)
def test_what_cannot_be_run_is_refused(made_up_parts, parts, sentence, capsys):
    made_up_parts("cpu", well=20)
    with pytest.raises(SystemExit) as exit_:
        accelerator.main(["--parts", parts])
    assert exit_.value.code == 2
    assert sentence in words(capsys.readouterr().err)


def test_the_cpu_stays_beside_a_device_that_is_named(monkeypatch):
    for named, used in (("cuda", "cuda,cpu"), ("cpu", "cpu"), ("cpu,cuda", "cpu,cuda")):
        monkeypatch.setenv("JAX_PLATFORMS", named)
        assert accelerator.environment(smoke=False)["JAX_PLATFORMS"] == used


# Checks


def test_short_factors_keep_ten_bits():
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    short = checks.shortened({"a": values, "b": np.arange(3)})
    assert (short["b"] == np.arange(3)).all()
    error = np.abs(short["a"] / values.astype(np.float64) - 1)
    assert 2**-12 < error.max() <= 2**-11
    np.testing.assert_array_equal(checks.shortened(short["a"]), short["a"])


def product(features, kernel):
    return jnp.matmul(features, kernel, precision="highest")


def of_ten_bits(features, kernel):
    """What a product with short factors makes of it."""

    def shorten(array):
        bits = (array.view(jnp.uint32) + 0x1000) & jnp.uint32(0xFFFFE000)
        return bits.view(jnp.float32)

    return product(shorten(features), shorten(kernel))


def in_float64(features, kernel):
    expected = np.float64(features) @ np.float64(kernel)
    return expected, np.abs(expected).mean()


@pytest.mark.parametrize("oracle", [in_float64, None])
def test_a_product_with_short_factors_is_caught(oracle):
    rng = np.random.default_rng(0)
    features, kernel = rng.normal(size=(2, 40, 40)).astype(np.float32)
    trap = {"features": features, "kernel": kernel}
    right = checks.run(Check("product", product, trap, oracle, rtol=1e-5))
    assert right.met and right.worst < 0.5 and right.of_short_factors > 3
    wrong = checks.run(Check("product", of_ten_bits, trap, in_float64, rtol=1e-5))
    assert not wrong.met
    assert wrong.worst == pytest.approx(right.of_short_factors, rel=1e-2)
    whole = {name: np.round(array) for name, array in trap.items()}
    blunt = checks.run(Check("product", product, whole, oracle, rtol=1e-5))
    assert not blunt.met and blunt.worst < 0.5


@pytest.mark.full
def test_all_parts_run_at_tiny_sizes(tmp_path):
    out = tmp_path / "numbers.json"
    accelerator.main(["--smoke", "--out", str(out)])
    written = json.loads(out.read_text())
    assert list(written["parts"]) == list(accelerator_parts.PARTS)
    found = written["parts"]["checks"]["results"]["checks"]
    assert len(found) == 35 and all(check["met"] for check in found.values())


@pytest.mark.full
def test_forms_are_timed_against_each_other(tmp_path):
    sizes = ("--rows", 128, "--columns", 8, "--classes", 26, "--repeats", 2)
    written = run(dialect, tmp_path, *sizes, "--calls", 1)
    names = {name.partition(",")[0] for name in written["timings"]}
    assert names > {"argmax", "fold", "classes a turn"}
    assert len(written["ratios"]) == len(names) == len(written["timings"]) / 2
