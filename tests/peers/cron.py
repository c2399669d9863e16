#!/usr/bin/env python3
"""Asks croniter, another reader of cron lines, when lines fire: one question a line on standard input, one answer a line.

    {"at": 0, "line": "0 3 * * *", "seconds": false, "zone": "Asia/Shanghai", "windows": [[from, until, most], ...]}
    {"at": 0, "zone": "Asia/Shanghai", "fires": [...]}

Times are seconds since 1970. Makes a virtual environment from PyPI the first time (in $OPSWARD_CRON_VENV, by default
~/.cache/opsward/cron-venv), but with --only-if-installed. Exits with 77 where there is none, which whoever asks takes for a skipped
test. `tests/tests/it/cron/oracles.rs` runs it.
"""

import hashlib
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
NOT_THERE = 77
INSTALL_SECONDS_MAX = 120


def environment(may_install):
    """The interpreter of a virtual environment that holds the pinned croniter; None where there is none."""
    default = pathlib.Path.home() / ".cache" / "opsward" / "cron-venv"
    folder = pathlib.Path(os.environ.get("OPSWARD_CRON_VENV") or default)
    python = folder / "bin" / "python"
    pins = HERE / "requirements-cron.txt"
    stamp = folder / "installed"
    wanted = hashlib.sha256(pins.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    if not may_install:
        return None
    make = [[sys.executable, "-m", "venv", "--clear", str(folder)], [python, "-m", "pip", "install", "--quiet", "-r", str(pins)]]
    try:
        for command in make:
            subprocess.run(command, check=True, timeout=INSTALL_SECONDS_MAX, stdout=sys.stderr)
    except (OSError, subprocess.SubprocessError) as problem:
        print(f"croniter cannot be installed: {problem}", file=sys.stderr)
        return None
    stamp.write_text(wanted)
    return python


def answer():
    import datetime
    import json
    import zoneinfo

    from croniter import croniter

    for text in sys.stdin:
        asked = json.loads(text)
        zone = zoneinfo.ZoneInfo(asked["zone"])
        fires = set()
        for first, until, most in asked["windows"]:
            start = datetime.datetime.fromtimestamp(first, zone)
            times = croniter(asked["line"], start, second_at_beginning=asked["seconds"])
            for _ in range(most):
                at = int(times.get_next(datetime.datetime).timestamp())
                if at > until:
                    break
                fires.add(at)
        print(json.dumps({"at": asked["at"], "zone": asked["zone"], "fires": sorted(fires)}))


def main():
    if "--answer" in sys.argv:
        return answer()
    python = environment(may_install="--only-if-installed" not in sys.argv)
    if python is None:
        return NOT_THERE
    return subprocess.run([python, str(HERE / "cron.py"), "--answer"], stdin=sys.stdin).returncode


if __name__ == "__main__":
    sys.exit(main())
