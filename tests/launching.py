"""Two processes on this machine, as the tests of training in several processes start them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

OPTIONS = "--multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no"


def launch(script: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """``accelerate launch`` of two processes. (With ``--cpu`` it would start one only; the device is
    the script's choice.) The port 0 is whichever is free once the launcher is ready for it."""
    command = [sys.executable, "-m", "accelerate.commands.launch", *OPTIONS.split()]
    command += ["--main_process_port", "0", str(script), *map(str, arguments)]
    return subprocess.run(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MMTUTOR_DEVICE": "cpu"},
        capture_output=True,
        text=True,
        timeout=400,
    )
