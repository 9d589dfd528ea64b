"""Writes the models of `functions.py` as a server's model repository.

Usage: repository.py mlserver|triton FOLDER
"""

import json
import sys
from pathlib import Path

from functions import MODELS

HERE = Path(__file__).resolve().parent
TRITONS = {"BYTES": "STRING"}


def mlserver(folder, name, model):
    def tensors(declared):
        return [{"name": name, "datatype": datatype, "shape": shape} for name, (datatype, shape) in declared.items()]

    settings = {
        "name": name,
        "implementation": "mlserver_models.Function",
        "inputs": tensors(model.inputs),
        "outputs": tensors(model.outputs),
    }
    (folder / "model-settings.json").write_text(json.dumps(settings))


def triton(folder, name, model):
    def tensors(declared, optional):
        for tensor, (datatype, shape) in declared.items():
            datatype = "TYPE_" + TRITONS.get(datatype, datatype)
            yield f'{{ name: "{tensor}" data_type: {datatype} dims: {shape}{optional} }}'

    inputs = ", ".join(tensors(model.inputs, " optional: true" if model.optional else ""))
    config = [
        f'name: "{name}"',
        'backend: "python"',
        f"input [ {inputs} ]",
        f"output [ {', '.join(tensors(model.outputs, ''))} ]",
        "instance_group [ { kind: KIND_CPU count: 1 } ]",
    ]
    if model.streams:
        config.append("model_transaction_policy { decoupled: True }")
    (folder / "config.pbtxt").write_text("\n".join(config))
    (folder / "1").mkdir()
    (folder / "1/model.py").symlink_to(HERE / "triton_model.py")


write = {"mlserver": mlserver, "triton": triton}[sys.argv[1]]
for name, model in MODELS.items():
    folder = Path(sys.argv[2]) / name
    folder.mkdir()
    write(folder, name, model)
