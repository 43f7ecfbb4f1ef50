"""Makes VERSION.pth beside this file, a tiny archive as that version of torch writes it.

    python -m venv v && v/bin/pip install torch==2.5.1 numpy && v/bin/python test/data/torch/make.py

Those that are here were made with torch 1.6.0 under CPython 3.8 (the first version whose archives are zip files) and
torch 2.5.1 under CPython 3.11. `test_torch_archive.py` knows what is inside.
"""

import argparse
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

if __name__ == "__main__":
    tensors = OrderedDict(weight=torch.arange(6.0).reshape(2, 3), half=torch.ones(4).half())
    more = {"best_so_far": np.float64(0.5), "epoch": np.int64(3), "loss": torch.tensor(0.25, dtype=torch.float64)}
    file = Path(__file__).with_name("{}.pth".format(torch.__version__.split("+")[0]))
    torch.save({"args": argparse.Namespace(model="none", out=Path("x")), "model": tensors, **more}, str(file))
    print(file, file.stat().st_size)
