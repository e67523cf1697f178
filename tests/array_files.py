"""Files of arrays that NumPy itself does not write."""

import json
from pathlib import Path


def write_safetensors(path, dtype, shape, content):
    """A .safetensors file of one tensor, features, of any type the format knows."""
    described = {"dtype": dtype, "shape": shape, "data_offsets": [0, len(content)]}
    header = json.dumps({"features": described}).encode()
    Path(path).write_bytes(len(header).to_bytes(8, "little") + header + content)
