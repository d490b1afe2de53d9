"""Checks exported models against onnx.checker and onnxruntime.

Takes a folder with NAME.onnx and NAME.json: {"inputs": {name: {dtype, shape, data}}, "output", "expected"}.
Needs: pip install onnx onnxruntime numpy
"""

import json
import pathlib
import sys

import numpy
import onnx
import onnxruntime

for case in sorted(pathlib.Path(sys.argv[1]).glob("*.json")):
    wanted = json.loads(case.read_text())
    path = case.with_suffix(".onnx")
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = {
        name: numpy.array(tensor["data"], dtype=tensor["dtype"]).reshape(tensor["shape"])
        for name, tensor in wanted["inputs"].items()
    }
    got = session.run([wanted["output"]], inputs)[0].ravel()
    expected = numpy.array(wanted["expected"], dtype="float32")
    assert got.shape == expected.shape, (case.name, got.shape, expected.shape)
    error = float(numpy.abs(got - expected).max())
    print(f"{case.stem}: {got.size} scores, largest difference {error:.2e}")
    assert error <= 1e-5 * max(1.0, float(numpy.abs(expected).max())), case.name
