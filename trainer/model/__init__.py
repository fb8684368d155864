"""Elastic encoder, its checkpoints, and the sources of pretrained encoders."""

from gearshift.extras import require

require("train")  # whoever imports more than settings needs it, and is told in one line
