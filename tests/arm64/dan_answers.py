"""Answers of a DAN on one machine: `python dan_answers.py FILE TEXT ...` prints the logits of each text as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from gearshift.runtime.dan.model import open_dan

if __name__ == "__main__":
    sys.stdout.write(json.dumps(open_dan(Path(sys.argv[1])).run(sys.argv[2:]).tolist()) + "\n")
