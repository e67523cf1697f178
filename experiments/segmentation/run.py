"""Runs a segmentation study: loads, splits, and goes through the rounds.

What a round does is in `study`, what the rounds of all studies share in
`experiments.engine.rounds`.
"""

from experiments.engine import run_folder
from experiments.engine.progress import Progress
from experiments.engine.rounds import RunError, run_rounds
from experiments.reporting.measures import measure_of
from experiments.reporting.run_report import write_report
from experiments.segmentation.config import Config
from experiments.segmentation.data import datasets
from experiments.segmentation.data.scenes import Scenes
from experiments.segmentation.networks import RECIPES
from experiments.segmentation.split import Split, make_split
from experiments.segmentation.study import as_rounds, make_study


def run(config: Config, progress: Progress | None = None) -> dict:
    """Runs or resumes a study, writes its report and returns the summary.

    Args:
        config: the settings.
        progress: where to show how it goes; standard output by default.

    Returns:
        The summary that `summary.json` holds.

    Raises:
        RunError: if the settings do not fit the data or a score is not finite.
        run_folder.FolderError: if the folder holds another run.
        scenes.SceneError: if the scenes cannot be had or used.
        BackboneError: if the weights of the frozen backbone
            cannot be had.
        experiments.models.resnet_weights.WeightsError: if those of ResNet-50 cannot.
        checkpoint.CheckpointError: if a checkpoint does not fit the settings.
    """
    with run_folder.locked(config.out):
        data = datasets.load(**config.scenes())
        about = _about(data)
        progress = progress or Progress(
            config.methods, config.rounds, data.name, measure=measure_of(about)
        )
        progress.say(f"data: {data.source}")
        splits = make_splits(config, len(data.train))
        inputs = RECIPES[config.network].make(data, config.network_options())
        for warning in run_folder.prepare(
            config.out,
            {**config.settings(), **about, "inputs": inputs.identity},
            data,
            splits,
            resume=config.resume,
            found_at={"scenes": config.scenes()},
        ):
            progress.say(f"warning: {warning}")
        rounds = as_rounds(make_study(config, data, inputs, splits))
        run_rounds(config.out, config.methods, config.rounds, rounds, progress)
        return write_report(config.out, data)


def _about(data: Scenes) -> dict:
    """What a report must know of a segmentation run, as JSON."""
    return {
        "task": "segmentation",
        "measure": "miou" if data.background is None else "foreground_miou",
        "class_names": list(data.class_names),
        "background": data.background,
        "colors": data.colors.tolist(),
    }


def make_splits(config: Config, num_scenes: int) -> list[Split]:
    """One split a seed.

    Raises:
        RunError: if the settings do not fit the data.
    """
    budget = config.rounds * config.acquire_size
    needed = config.holdout_size + config.initial_size + budget
    if needed > num_scenes:
        raise RunError(
            f"holdout_size + initial_size + rounds * acquire_size must be at most the "
            f"{num_scenes} training scenes, got {config.holdout_size} + "
            f"{config.initial_size} + {config.rounds} * {config.acquire_size} = "
            f"{needed}."
        )
    return [
        make_split(
            num_scenes,
            seed,
            initial_size=config.initial_size,
            holdout_size=config.holdout_size,
        )
        for seed in range(config.seeds)
    ]
