"""`iwps export`: write the model of a campaign, for your own program.

    iwps export --out model.npz

The model is that of `iwps predict`: the final head, trained on all labels, and the
temperature that calibrates it. It takes the features of the pool as they are. The
suffix of the file chooses its form:

    .npz, .safetensors   arrays kernel [d, classes], bias [classes], temperature, and
                         low and high [d], between which features are cut off:
                         softmax((clip(h, low, high) kernel + bias) / temperature)
    .joblib              a fitted pipeline of scikit-learn, with predict and
                         predict_proba

Each also holds the names of the classes and, if `iwps embed` made the pool, the name
of its network and the sha256 of the weights.
"""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

from iwps_jax.app.campaign import folder
from iwps_jax.app.campaign.final_model import fit_final_model
from iwps_jax.app.commands import answers, exit_status, model_files, outputs
from iwps_jax.app.commands.jax_settings import Computing, start_jax
from iwps_jax.app.commands.predict import say_limits
from iwps_jax.app.embedding.source_file import read_about
from iwps_jax.atomic_write import write_atomically
from iwps_jax.wording import plural


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(answers.OfCampaign, Computing):
    """The options of the command."""

    writes: ClassVar = ("out",)
    out: Path
    """the .npz, .safetensors or .joblib file to write"""


def run(options: Options) -> int:
    """Trains the model and writes it; returns the exit status."""
    return exit_status.run(lambda: _export(options))


def _export(options: Options) -> None:
    outputs.require_writable(options.out)
    encode = model_files.encoder_of(options.out)
    start_jax(options)
    state = folder.read(options.campaign)
    about = read_about(folder.paths_of(options.campaign).pool, len(state.task.pool))
    backbone = None if about is None else about.get("backbone")
    model = fit_final_model(state)
    content = encode(model, backbone)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(options.out, content)
    print(
        f"Model of {plural(len(model.classes), 'class')} in {options.out}, for "
        f"{_features(model, backbone)}."
    )
    say_limits(state, model)


def _features(model, backbone: dict[str, Any] | None) -> str:
    size = plural(len(model.kernel), "feature")
    return size if backbone is None else f"{size} of {backbone.get('name')}"
