"""Rows of a task: read, split, tokenized, augmented."""

from gearshift.extras import require

require("train")  # whoever imports more than settings needs it, and is told in one line
