"""A real Chromium without a window, driven over the pipe of its DevTools protocol as a person drives it: what is named
on the page is found by its accessible role and name, and clicked or typed into with real input events."""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-features=Translate,MediaRouter,OptimizationHints",
    "--no-proxy-server",
    "--lang=en-US",
    "--remote-debugging-pipe",
)
SECONDS = 20
# Key → (code, virtual key code, text)
KEYS = {
    "Tab": ("Tab", 9, ""),
    "Enter": ("Enter", 13, "\r"),
    "Escape": ("Escape", 27, ""),
    "Space": ("Space", 32, " "),
    "ArrowDown": ("ArrowDown", 40, ""),
    "ArrowUp": ("ArrowUp", 38, ""),
}
CTRL, SHIFT = 2, 8


def program() -> str | None:
    """Where Chromium is, if this machine has one that can be driven."""
    found = shutil.which("chromium")
    return None if found is None or found.startswith("/snap/") else found


class Browser:
    def __init__(self, profile: Path):
        to_read, self._write = _pipe()
        self._read, to_write = _pipe()
        # The protocol is read from descriptor 3 and written to 4.
        wrapped = ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{to_write}', "chromium"]
        self._log = (profile.parent / f"{profile.name}.log").open("wb")
        self._process = subprocess.Popen(
            [*wrapped, program(), *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(to_read, to_write),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        os.close(to_read)
        os.close(to_write)
        self._buffer = b""
        self._number = 0
        self.pages: dict[str, Page] = {}

    def call(self, method: str, params: dict | None = None, session: str | None = None) -> dict:
        self._number += 1
        number = self._number
        self._send({"id": number, "method": method, "params": params or {}}, session)
        deadline = time.monotonic() + 3 * SECONDS  # axe on the largest page, on a machine with other work
        while True:
            answer = self._next(deadline - time.monotonic())
            if answer is None:
                raise TimeoutError(f"{method} was not answered")
            if answer.get("id") != number:
                self._happened(answer)
            elif "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']['message']}")
            else:
                return answer["result"]

    def listen(self, seconds: float) -> None:
        """Takes in what happens meanwhile."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if (event := self._next(left)) is not None:
                self._happened(event)

    def _send(self, message: dict, session: str | None) -> None:
        data = json.dumps({**message, **({"sessionId": session} if session else {})}).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]

    def _next(self, seconds: float) -> dict | None:
        deadline = time.monotonic() + seconds
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                return None
            chunk = os.read(self._read, 1 << 20)
            if not chunk:
                raise RuntimeError("Chromium has ended; its log is beside its profile.")
            self._buffer += chunk
        text, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(text)

    def _happened(self, event: dict) -> None:
        page = self.pages.get(event.get("sessionId", ""))
        if page is not None:
            page.happened(event["method"], event["params"])

    @contextlib.contextmanager
    def opened(self, url: str) -> Iterator["Page"]:
        """A page of its own: nothing is stored that another one sees."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        page = self.tab(context, url)
        try:
            yield page
        finally:
            self.pages = {session: one for session, one in self.pages.items() if one.context != context}
            self.call("Target.disposeBrowserContext", {"browserContextId": context})

    def tab(self, context: str, url: str) -> "Page":
        """One more page that shares what is stored with those of the same context, and is closed with them."""
        target = self.call("Target.createTarget", {"url": "about:blank", "browserContextId": context})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = self.pages[session] = Page(self, session, context, url)
        page.begin()
        return page

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.call("Browser.close")
        with self._process:
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
        os.close(self._read)
        os.close(self._write)
        self._log.close()


def _pipe() -> tuple[int, int]:
    """Ends with numbers above 9, out of the way of 3 and 4."""
    ends = []
    for end in os.pipe():
        ends.append(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10))
        os.close(end)
    return ends[0], ends[1]


class Page:
    def __init__(self, browser: Browser, session: str, context: str, url: str):
        self.browser, self.session, self.context, self.url = browser, session, context, url
        self.requests: list[str] = []  # every URL that was asked for
        self.faults: list[str] = []  # uncaught errors, what the policy forbade, failed loads
        self.dialogs: list[str] = []  # alert and its like: nothing of ours opens one

    def call(self, method: str, **params) -> dict:
        return self.browser.call(method, params, self.session)

    def begin(self) -> None:
        for domain in ("Page", "Runtime", "Log", "Network", "DOM", "Accessibility"):
            self.call(f"{domain}.enable")
        self.look()

    def look(self, width: int = 1280, height: int = 860, dark: bool = False) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.call("Emulation.setEmulatedMedia", features=features)

    def before_each_load(self, script: str) -> None:
        """Runs before the page's own scripts, from the next load on."""
        self.call("Page.addScriptToEvaluateOnNewDocument", source=script)

    def on_paper(self) -> None:
        """As it would be printed."""
        self.call("Emulation.setEmulatedMedia", media="print")
        self.run("void dispatchEvent(new Event('beforeprint'))")

    def network(self, offline: bool = False, upload_bytes_per_second: int = -1) -> None:
        self.call(
            "Network.emulateNetworkConditions",
            offline=offline,
            latency=0,
            downloadThroughput=-1,
            uploadThroughput=upload_bytes_per_second,
        )

    def happened(self, method: str, params: dict) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.faults.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.faults.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Page.javascriptDialogOpening":
            self.dialogs.append(params["message"])
            # Not waiting for its answer: we are in the middle of reading.
            self.browser._number += 1
            message = {"id": self.browser._number, "method": "Page.handleJavaScriptDialog", "params": {"accept": False}}
            self.browser._send(message, self.session)

    # Going and looking

    def go(self, path: str) -> None:
        """To a path of the server; a change after # alone does not load anything."""
        self.call("Page.navigate", url=self.url + path)
        self.wait("document.readyState === 'complete'")

    def run(self, script: str):
        """The value of an expression, or of the promise that it is."""
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in done:
            raise AssertionError(done["exceptionDetails"]["exception"].get("description", script))
        return done["result"].get("value")

    def text(self) -> str:
        return self.run("document.body.innerText")

    def wait(self, script: str, seconds: float = SECONDS) -> None:
        """Until the expression is true."""
        deadline = time.monotonic() + seconds
        while not self.run(f"Boolean({script})"):
            assert time.monotonic() < deadline, f"never true: {script}\n{self.faults}\n{self.text()}"
            self.browser.listen(0.05)

    def reads(self, words: str, seconds: float = SECONDS) -> None:
        """Until the words are on the page."""
        self.wait(f"document.body.innerText.includes({json.dumps(words)})", seconds)

    def heading(self, words: str) -> None:
        self.wait(f"document.querySelector('h1')?.innerText === {json.dumps(words)}")

    def visit(self, fragment: str, words: str) -> None:
        """A view of the page, once it says the words."""
        self.run(f"location.hash = {json.dumps(fragment)}")
        self.reads(words)

    def named(self, role: str, name: str) -> list[int]:
        """The elements that are there for everybody with this role and name."""
        root = self.call("DOM.getDocument", depth=0)["root"]["backendNodeId"]
        found = self.call("Accessibility.queryAXTree", backendNodeId=root, role=role, accessibleName=name)["nodes"]
        return [node["backendDOMNodeId"] for node in found if not node["ignored"]]

    def one(self, role: str, name: str, seconds: float = SECONDS) -> int:
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(RuntimeError):  # the page changed under the question
                if found := self.named(role, name):
                    assert len(found) == 1, f"{len(found)} of {role} {name!r}"
                    return found[0]
            assert time.monotonic() < deadline, f"there is no {role} {name!r}\n{self.faults}\n{self.text()}"
            self.browser.listen(0.05)

    def at(self, node: int, function: str):
        """What a function answers of which the element is `this`."""
        object_id = self.call("DOM.resolveNode", backendNodeId=node)["object"]["objectId"]
        done = self.call(
            "Runtime.callFunctionOn",
            objectId=object_id,
            functionDeclaration=function,
            returnByValue=True,
            awaitPromise=True,
        )
        return done["result"].get("value")

    # Doing

    def click(self, role: str, name: str) -> None:
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                return self._clicked(self.one(role, name))
            except RuntimeError:  # redrawn between finding and clicking
                assert time.monotonic() < deadline, f"{role} {name!r} does not hold still"

    def _clicked(self, node: int) -> None:
        self.call("DOM.scrollIntoViewIfNeeded", backendNodeId=node)
        if not (quads := self.call("DOM.getContentQuads", backendNodeId=node)["quads"]):
            raise RuntimeError("it is gone again")
        quad = quads[0]
        x, y = (sum(quad[0::2]) / 4, sum(quad[1::2]) / 4)
        hit = self.at(
            node,
            f"function() {{ const there = document.elementFromPoint({x}, {y});"
            " return this === there || this.contains(there) || !!there?.contains(this) }",
        )
        assert hit, "something else is in front of it"
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def fill(self, name: str, text: str, role: str = "textbox") -> None:
        node = self.one(role, name)
        self.call("DOM.focus", backendNodeId=node)
        self.at(node, "function() { this.select() }")
        self.type(text)

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def choose(self, name: str, label: str) -> None:
        """An option of a select, by its words; the list of them is drawn by the system, out of our reach."""
        node = self.one("combobox", name)
        self.call("DOM.focus", backendNodeId=node)
        chosen = self.at(
            node,
            f"""function() {{
            this.value = [...this.options].find((option) => option.label === {json.dumps(label)}).value;
            this.dispatchEvent(new Event('change', {{bubbles: true}})); return this.selectedOptions[0].label }}""",
        )
        assert chosen == label

    def downloads(self, folder: Path) -> None:
        """Where downloads go from now on."""
        self.browser.call(
            "Browser.setDownloadBehavior",
            {
                "behavior": "allow",
                "downloadPath": str(folder),
                "browserContextId": self.context,
            },
        )

    def press(self, key: str, modifiers: int = 0) -> None:
        code, number, text = KEYS[key]
        common = {
            "key": text if key == "Space" else key,
            "code": code,
            "windowsVirtualKeyCode": number,
            "modifiers": modifiers,
        }
        self.call("Input.dispatchKeyEvent", type="keyDown", text="" if modifiers & CTRL else text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def focused(self) -> str:
        """The accessible name of what has the keyboard."""
        node = self.call("Runtime.evaluate", expression="document.activeElement")["result"]["objectId"]
        found = self.call("Accessibility.getPartialAXTree", objectId=node, fetchRelatives=False)["nodes"]
        return found[0].get("name", {}).get("value", "")

    def tab_to(self, name: str, most: int = 60) -> None:
        for _ in range(most):
            if self.focused() == name:
                return
            self.press("Tab")
        raise AssertionError(f"Tab never comes to {name!r}")

    def drop(self, selector: str, *files: Path) -> None:
        """Drags files from outside and lets them go over the element."""
        x, y = self.run(
            f"(() => {{ const place = document.querySelector({json.dumps(selector)}); place.scrollIntoView();"
            " const box = place.getBoundingClientRect(); return [box.x + box.width / 2, box.y + 8] })()"
        )
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def picture(self, path: Path, whole: bool = False) -> None:
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def sideways(self) -> list[str]:
        """What stands out on the right, where the page scrolls sideways."""
        return self.run("""(() => {
            const { scrollWidth, clientWidth } = document.documentElement;
            if (scrollWidth <= clientWidth) return [];
            const right = (one) => one.getBoundingClientRect().right;
            const out = [...document.querySelectorAll('*')].filter((one) => right(one) > clientWidth);
            return [`${scrollWidth} > ${clientWidth}`, ...out.map((one) => one.cloneNode().outerHTML)] })()""")
