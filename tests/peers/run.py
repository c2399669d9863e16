#!/usr/bin/env python3
"""Runs the vendors' own Python SDKs against the simulated clouds: independent clients that share no code with opsward.

    python3 tests/peers/run.py target/debug/opsward

Makes a virtual environment from PyPI the first time (in $OPSWARD_PEERS_VENV, by default ~/.cache/opsward/peers-venv),
starts `<binary> sim`, calls every simulated action with each SDK, prints a table, and exits with 1 where anything
differs from what the real clouds would answer.
"""

import hashlib
import json
import os
import pathlib
import subprocess
import sys

CALLS_SECONDS_MAX = 300
HERE = pathlib.Path(__file__).resolve().parent


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    python = environment()
    simulator = subprocess.Popen(
        [sys.argv[1], "sim", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True
    )
    try:
        ready = simulator.stdout.readline()
        if not ready:
            print("the simulator ended before it was ready", file=sys.stderr)
            return 1
        json.loads(ready)
        calls = [python, str(HERE / "calls.py")]
        return subprocess.run(calls, input=ready, text=True, env=clean(), timeout=CALLS_SECONDS_MAX).returncode
    finally:
        simulator.terminate()
        simulator.wait(timeout=10)


def environment():
    """The interpreter of a virtual environment that holds the pinned SDKs."""
    default = pathlib.Path.home() / ".cache" / "opsward" / "peers-venv"
    folder = pathlib.Path(os.environ.get("OPSWARD_PEERS_VENV") or default)
    python = folder / "bin" / "python"
    pins = HERE / "requirements.txt"
    stamp = folder / "installed"
    wanted = hashlib.sha256(pins.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", str(pins)], check=True)
        stamp.write_text(wanted)
    return str(python)


def clean():
    """The environment without what would lead an SDK to other keys or through a proxy.

    The older Alibaba SDK lets ALIYUN_ACCESS_KEY_ID override the key it is given.
    """
    prefixes = ("ALIYUN_", "ALIBABA_CLOUD_", "TENCENTCLOUD_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(prefixes) and not k.lower().endswith("_proxy")}
    return kept | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


if __name__ == "__main__":
    sys.exit(main())
