"""Writes a trained supernet as a bundle: one elastic graph per precision. Needs `gearshift[export]`."""

from gearshift.extras import require

require("export", "onnx")
