"""Pictures for the tests of the AI application, and what its engines say when they are asked directly.

    style_check.py pictures DIR                           makes the pictures
    style_check.py compare MODELS DIR pytorch|tensorflow RESULT.png
                                                          how far RESULT is from what each engine gives for the same picture:
                                                          {"engine": {"mean": ..., "max": ...}}, of colours from 0 to 1
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SAMPLES = Path(__file__).parents[3] / "examples/ai-application/services/page/samples"
# The sizes that the models take, so that nothing is lost on the way to a tensor and back.
SIZES = {"pytorch": 512, "tensorflow": 384}


def pictures(directory):
    sample = Image.open(SAMPLES / "mountains.jpg")
    for name, size in SIZES.items():
        sample.resize((size, size)).save(directory / f"{name}.png")
    Image.open(SAMPLES / "style-mosaic.jpg").save(directory / "style.png")
    (directory / "text.txt").write_text("This is a text.\n")
    (directory / "text.jpg").write_text("This is a text, whatever it is called.\n")
    noise = np.random.default_rng(1).integers(0, 256, (4200, 4200, 3), np.uint8)
    Image.fromarray(noise).save(directory / "large.png", compress_level=0)
    # Four hundred million pixels in fifty kilobytes.
    Image.new("1", (20000, 20000)).save(directory / "bomb.png")
    greys = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    Image.fromarray(greys).save(directory / "grey.png")
    Image.fromarray(greys.astype(np.uint16) * 257).save(directory / "grey-of-16-bits.png")


def compare(models, directory, group, result):
    picture = array(directory / f"{group}.png")
    if group == "pytorch":
        outputs = fixed(models / "pytorch/pt-style-transfer/model.onnx", picture.transpose(2, 0, 1)[None])
        outputs = {engine: output[0].transpose(1, 2, 0) for engine, output in outputs.items()}
    else:
        folder = models / "tensorflow/tf-style-transfer"
        outputs = {"onnxruntime": arbitrary(folder, picture[None], array(directory / "style.png")[None])[0]}
    found = array(result)
    told = {}
    for engine, output in outputs.items():
        difference = np.abs(found - np.clip(output, 0, 1))
        told[engine] = {"mean": float(difference.mean()), "max": float(difference.max())}
    print(json.dumps(told))


def array(path):
    return np.asarray(Image.open(path).convert("RGB"), np.float32) / 255


def fixed(path, image):
    import onnxruntime

    # It would report its use to its maker.
    sys.modules["openvino_telemetry"] = None
    import openvino

    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    return {
        "onnxruntime": onnxruntime.InferenceSession(path).run(None, {"image": image})[0],
        "openvino": openvino.Core().compile_model(path, "CPU", hint)([image])[0],
    }


def arbitrary(folder, content, style):
    import onnxruntime

    predict = onnxruntime.InferenceSession(folder / "predict.onnx")
    transform = onnxruntime.InferenceSession(folder / "transform.onnx")
    [vector] = predict.run(None, {predict.get_inputs()[0].name: style})
    names = [declared.name for declared in transform.get_inputs()]
    return transform.run(None, dict(zip(names, [content, vector])))[0]


if sys.argv[1] == "pictures":
    pictures(Path(sys.argv[2]))
else:
    compare(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], Path(sys.argv[5]))
