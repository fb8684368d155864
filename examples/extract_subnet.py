"""Extract a subnet of a supernet as an ordinary Hugging Face model, for use in any tool that reads those.

    python -m examples.extract_subnet RUN w050-d050 DIRECTORY

The command line does the same: gearshift export RUN --checkpoint w050-d050 -o DIRECTORY
"""

from __future__ import annotations

import sys
from pathlib import Path

import transformers

from gearshift.export.extract import extract_subnet, named_subnet
from gearshift.trainer.model.run import load_supernet


def main(run_path: str, name: str, directory: str) -> None:
    """Write the model, and load it with transformers alone."""
    run = load_supernet(Path(run_path))
    made = extract_subnet(run, name, named_subnet(run, name), Path(directory))
    print(f"{made.path}: {made.parameters / 1e6:.3f} M parameters, off by {made.parity} from the supernet")
    classify = transformers.pipeline("text-classification", model=directory, tokenizer=directory)
    print(classify("turn the lights off"))


if __name__ == "__main__":
    main(*sys.argv[1:4])
