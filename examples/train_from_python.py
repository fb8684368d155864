"""Train a supernet from Python, as `gearshift train` does: DynaBERT's stages on a folder of data.

    python -m examples.train_from_python MODEL DATA RUN [SETTINGS.toml]

MODEL is a directory or a name on the hub, DATA a folder with `train.tsv` (and `dev.tsv`, `test.tsv`) or one file.
"""

from __future__ import annotations

import sys
from pathlib import Path

from gearshift.trainer.data.splits import read_data
from gearshift.trainer.dynabert.settings import Settings
from gearshift.trainer.dynabert.settings_file import read_settings
from gearshift.trainer.dynabert.train import train_supernet
from gearshift.trainer.model.pretrained import find_model


def main(model: str, data_path: str, run_path: str, settings_path: str = "") -> None:
    """Train, and show the accuracy of every subnet."""
    settings = read_settings(Path(settings_path)) if settings_path else Settings(augment=2, evaluate_every=0.5)
    data = read_data(data_path)
    run = train_supernet(find_model(model), data, settings, run_path)
    for name, subnet in run.subnets.items():
        parameters = subnet.parameters(run.checkpoint.model.shape)
        print(f"{name}  {parameters / 1e6:.3f} M parameters  accuracy {100 * run.accuracies[name]:.1f} %")


if __name__ == "__main__":
    main(*sys.argv[1:5])
