"""The table of checks, and the simulator's control interface."""

import contextlib
import json
import time
import traceback
import urllib.request


class Report:
    """Runs checks, prints a row for each, and remembers whether one failed."""

    def __init__(self):
        self.failed = 0
        self.passed = 0

    @contextlib.contextmanager
    def check(self, sdk, what):
        try:
            yield
        except Exception as error:  # a check must not end the others
            self.failed += 1
            print(f"FAIL  {sdk:<9} {what}: {type(error).__name__}: {error}")
            traceback.print_exc()
        else:
            self.passed += 1
            print(f"ok    {sdk:<9} {what}")

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0


def equal(found, expected):
    if found != expected:
        raise AssertionError(f"{found!r} where {expected!r} was expected")


@contextlib.contextmanager
def refused(code_of, *codes):
    """Expects the block to be refused with one of `codes`."""
    try:
        yield
    except AssertionError:
        raise
    except Exception as error:
        equal(code_of(error) in codes and code_of(error), code_of(error))
        return
    raise AssertionError(f"not refused, where {codes} was expected")


class Control:
    """`/_sim/*`"""

    def __init__(self, url):
        self.url = url

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_sim/{path}", data=data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def fault(self, action, kind, times=1, delay_ms=0):
        self.ask("POST", "faults", {"action": action, "kind": kind, "times": times, "delay_ms": delay_ms})

    def effects(self, action):
        return [effect for effect in self.ask("GET", "effects") if effect["action"] == action]

    def pass_time(self, ms):
        """Lets the simulated clock run ahead, so that what was begun settles."""
        offset = self.ask("GET", "state")["clock_offset_ms"]
        self.ask("PUT", "state", {"clock_offset_ms": offset + ms})

    def back_to_real_time(self):
        self.ask("PUT", "state", {"clock_offset_ms": 0})


def until(done, seconds=10):
    """Waits for `done` to hold."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise AssertionError("it did not happen in time")
        time.sleep(0.05)
