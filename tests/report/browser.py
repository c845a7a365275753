"""Drives Chromium through its own debugging pipe: no driver, no package beside the browser itself."""

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PROGRAM = next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page in one headless browser.

    Attributes:
        requests: addresses that the page asked for.
        complaints: errors and warnings of its console, and exceptions nobody caught.
    """

    def __init__(self, width=1100, height=900):
        assert PROGRAM is not None
        self._folder = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        to_read, self._to = os.pipe()
        self._from, to_write = os.pipe()
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio"]
        flags += ["--remote-debugging-pipe", f"--user-data-dir={self._folder.name}", f"--window-size={width},{height}"]
        # The browser reads its orders from descriptor 3 and answers on descriptor 4.
        wiring = f'exec 3<&{to_read} 4>&{to_write}; exec "$@"'
        self._process = subprocess.Popen(
            ["bash", "-c", wiring, "browser", PROGRAM, *flags, "about:blank"],
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._buffer, self._numbers = b"", itertools.count(1)
        self._session = None
        self.requests, self.complaints, self._events = [], [], []
        targets = self._call("Target.getTargets")["targetInfos"]
        target = next(info["targetId"] for info in targets if info["type"] == "page")
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")

    def open(self, path: Path) -> None:
        """Loads a file and waits until it has loaded."""
        self.requests.clear()
        self.complaints.clear()
        self._events.clear()
        self._call("Page.navigate", url=path.resolve().as_uri())
        self._wait("Page.loadEventFired")

    def run(self, expression: str):
        """The value of a JavaScript expression, awaited, as if a user had just clicked."""
        answer = self._call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def until(self, expression: str, timeout_s: float = 20.0):
        """Waits until an expression is true; returns the seconds it took."""
        start = time.monotonic()
        while not (value := self.run(expression)):
            if time.monotonic() - start > timeout_s:
                raise AssertionError(f"{expression} is still {value!r} after {timeout_s} s; {self.complaints}")
            time.sleep(0.01)
        return time.monotonic() - start

    def click(self, selector: str) -> None:
        """Clicks the middle of an element, as a mouse does."""
        self.run(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        box = self.box(selector)
        self.drag(*[box["x"] + box["width"] / 2, box["y"] + box["height"] / 2] * 2)

    def box(self, selector: str) -> dict:
        """Where an element lies in the window."""
        return self.run(f"document.querySelector({json.dumps(selector)}).getBoundingClientRect().toJSON()")

    def drag(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Presses the mouse at one place and releases it at another."""
        button = {"button": "left", "clickCount": 1, "buttons": 1}
        self._call("Input.dispatchMouseEvent", type="mousePressed", x=x0, y=y0, **button)
        if (x0, y0) != (x1, y1):
            for share in (0.25, 0.5, 0.75, 1):
                place = {"x": x0 + (x1 - x0) * share, "y": y0 + (y1 - y0) * share}
                self._call("Input.dispatchMouseEvent", type="mouseMoved", button="left", buttons=1, **place)
        self._call("Input.dispatchMouseEvent", type="mouseReleased", x=x1, y=y1, **button)

    def press(self, key: str) -> None:
        """Presses one key."""
        named = {
            "Space": (" ", "Space", 32),
            "ArrowRight": ("ArrowRight", "ArrowRight", 39),
            "Home": ("Home", "Home", 36),
        }
        value, code, number = named.get(key, (key, f"Key{key.upper()}", ord(key.upper()[0])))
        event = {"key": value, "code": code, "windowsVirtualKeyCode": number}
        self._call("Input.dispatchKeyEvent", type="keyDown", text=value if len(value) == 1 else "", **event)
        self._call("Input.dispatchKeyEvent", type="keyUp", **event)

    def look(self, width: int, height: int, scheme: str = "light") -> None:
        """Sets the size of the window and the color scheme."""
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self, path: Path) -> None:
        """Saves what the window shows."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))

    def keep_downloads(self, folder: Path) -> None:
        """Lets downloads go to a folder."""
        session, self._session = self._session, None
        self._call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        self._session = session

    def close(self) -> None:
        """Ends the browser."""
        with contextlib.suppress(OSError, AssertionError):
            self._session = None
            self._call("Browser.close")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)
        self._folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def _call(self, method: str, **params):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + 60
        while True:
            answer = self._read(deadline)
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer.get('error')}"
                return answer["result"]

    def _wait(self, event: str) -> None:
        deadline = time.monotonic() + 60
        while event not in self._events:
            self._read(deadline)

    def _read(self, deadline: float) -> dict:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], max(deadline - time.monotonic(), 0))
            assert ready, "the browser does not answer"
            data = os.read(self._from, 1 << 20)
            assert data, "the browser ended"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, params: dict) -> None:
        self._events.append(event)
        if event == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"])
        elif event == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(params["args"])
        elif event == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(params["entry"]["text"])
