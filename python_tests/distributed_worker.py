"""What each process of a launch does in test_scale.py: the runs that a JSON file lists, one after the other, then samples."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

from softdiff_ext.training.config import config_from_dict
from softdiff_ext.training.group import end_processes
from softdiff_ext.training.loop import train
from softdiff_ext.training.sampling import sample_run

if __name__ == "__main__":
    warnings.simplefilter("error")  # as pytest does in the process that starts this one
    folder = Path(sys.argv[1])
    for name, values, resume in json.loads((folder / "jobs.json").read_text()):
        train(config_from_dict(values), folder / name, resume)
    sample_run(folder / "ddp", 7, 3, out=folder / "samples", batch=2)
    end_processes()
