"""ONNX's own backend tests through dlc.backend: 50 of them at least must pass. Exit 77 without the package onnx."""
import os
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("DLC_BUILD", os.path.join(ROOT, "build"))
os.environ.setdefault("DLC_CACHE_DIR", "")
os.environ.setdefault("DLC_LIBRARY", os.path.join(BUILD, "lib", "libdlc.so"))
sys.path.insert(0, os.path.join(ROOT, "python"))
try:
    import onnx.backend.test
    import dlc.backend
except ImportError as e:
    print("needs the package onnx:", e)
    sys.exit(77)

suite = onnx.backend.test.BackendTest(dlc.backend, __name__)
for part in ("abs", "add", "and2d", "argmax_default_axis", "averagepool_2d", "batchnorm", "ceil", "clip", "concat_1d", "conv_with",
             "cos", "div", "elu", "erf", "exp", "flatten_axis", "floor", "gemm", "globalaveragepool", "hardmax", "layer_normalization_2d",
             "leakyrelu", "log", "matmul_2d", "max_example", "maxpool_2d", "reduce_sum_default", "relu", "reshape_reordered", "sigmoid",
             "slice", "softmax_axis", "sqrt", "tanh", "topk", "transpose", "where"):
    suite.include(rf"^test_{part}[a-z0-9_]*_cpu$")
globals().update(suite.test_cases)

if __name__ == "__main__":
    result = unittest.TextTestRunner(verbosity=0).run(unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__]))
    passed = result.testsRun - len(result.failures) - len(result.errors) - len(result.skipped)
    print(passed, "passed")
    sys.exit(0 if passed >= 50 and result.wasSuccessful() else 1)
