"""Calls every simulated action with every SDK. Started by run.py, with the simulator's ready line on standard input."""

import json
import sys

import alibaba_new
import alibaba_old
import tencent
from report import Control, Report, equal

SETTLE = ("snapshot_ms", "reset_ms", "reboot_ms", "start_ms", "stop_ms")
# Long enough to be seen half done, short enough not to be waited for.
SETTLE_MS = 600


def main():
    ready = json.loads(sys.stdin.readline())
    report, control = Report(), Control(ready["url"])
    control.ask("PUT", "state", {"settle": dict.fromkeys(SETTLE, SETTLE_MS)})
    for sdk in (alibaba_old, alibaba_new, tencent):
        sdk.run(report, control, ready["url"], ready["keys"])
    with report.check("-", "no request with a bad signature was served"):
        bad = [request for request in control.ask("GET", "requests") if request["signature"] != "ok"]
        equal([request["code"] for request in bad], [request["signature"] for request in bad])
        equal(bool(bad), True)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
