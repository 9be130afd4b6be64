#!/usr/bin/env python3
"""Opens a page in a headless Chromium, waits until the plots of Dask's dashboard have drawn data, and takes a picture.

Usage: browser.py HOST ADDRESS CA.crt OUT.png

Chromium resolves HOST to ADDRESS and nothing else, and trusts CA.crt in addition to the system's authorities. Prints how the
page was loaded: status, protocol, TLS version and issuer of the certificate. Fails if Chromium does not regard it as secure.

Chromium is controlled by the DevTools protocol over a pipe. `--screenshot` would only show the page without its plots, since
their data come by a WebSocket after the page is loaded.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DEADLINE_SECONDS = 120
SIZE = {"width": 1180, "height": 620, "deviceScaleFactor": 1, "mobile": False}
# Whether all plots are drawn, and the task stream shows some hundred tasks.
DRAWN = """(() => {
  if (typeof Bokeh === "undefined" || !Bokeh.documents.length || !Bokeh.documents[0].is_idle) return false;
  return [...Bokeh.documents[0]._all_models.values()].some((model) => model.data?.start?.length > 400);
})()"""


class Browser:
    """A Chromium process, and the pipe that controls it."""

    def __init__(self, home, host, address):
        arguments = [
            "chromium", "--headless", "--remote-debugging-pipe", f"--user-data-dir={home}/profile", "--hide-scrollbars",
            "--disable-background-networking", "--disable-component-update", "--disable-gpu", "--no-first-run",
            f"--host-resolver-rules=MAP {host} {address}, MAP * ~NOTFOUND",
        ]  # fmt: skip
        if os.geteuid() == 0:
            # The sandbox needs another user than root.
            arguments.append("--no-sandbox")
        to_child, self.to = os.pipe()
        self.answers, from_child = os.pipe()
        self.log = open(f"{home}/chromium.log", "wb")
        # Chromium reads from file descriptor 3 and writes to 4, which may be others here.
        shell = f'exec 3<&{to_child} 4>&{from_child}; exec "$@"'
        self.process = subprocess.Popen(
            ["bash", "-c", shell, "bash", *arguments],
            pass_fds=(to_child, from_child),
            env={**os.environ, "HOME": home},
            stdout=self.log,
            stderr=self.log,
        )
        os.close(to_child)
        os.close(from_child)
        self.buffer, self.next_id, self.events = b"", 0, []

    def receive(self):
        """Returns the next message."""
        while b"\0" not in self.buffer:
            data = os.read(self.answers, 1 << 20)
            if not data:
                raise SystemExit("browser.py: Chromium ended")
            self.buffer += data
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, session=None, **parameters):
        """Calls a method and returns its result. Keeps the events that arrive before."""
        self.next_id += 1
        message = {"id": self.next_id, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while (answer := self.receive()).get("id") != self.next_id:
            self.events.append(answer)
        if "error" in answer:
            raise SystemExit(f"browser.py: {method}: {answer['error']}")
        return answer["result"]

    def close(self):
        self.process.terminate()
        self.process.wait(10)
        self.log.close()


def trust(home, authority):
    """Adds the authority to the database that Chromium reads."""
    database = Path(home, ".pki/nssdb")
    database.mkdir(parents=True)
    certutil = ["certutil", "-d", f"sql:{database}"]
    subprocess.run([*certutil, "-N", "--empty-password"], check=True)
    subprocess.run([*certutil, "-A", "-t", "C,,", "-n", "showcase", "-i", authority], check=True)


def response(browser, url):
    """Returns how the document of this address was loaded."""
    for event in browser.events:
        loaded = event.get("params", {}).get("response", {})
        if event.get("method") == "Network.responseReceived" and loaded.get("url") == url:
            return loaded
    failures = [event["params"]["errorText"] for event in browser.events if event.get("method") == "Network.loadingFailed"]
    raise SystemExit(f"browser.py: {url} was not loaded: {failures}")


def wait_until_drawn(browser, session, url):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not browser.call("Runtime.evaluate", session, expression=DRAWN)["result"].get("value"):
        if time.monotonic() > deadline:
            raise SystemExit(f"browser.py: the plots had no data after {DEADLINE_SECONDS} s; {response(browser, url)}")
        time.sleep(0.2)


def main(host, address, authority, out):
    url = f"https://{host}/status"
    with tempfile.TemporaryDirectory() as home:
        trust(home, authority)
        browser = Browser(home, host, address)
        try:
            target = browser.call("Target.createTarget", url="about:blank")["targetId"]
            session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Network", "Page", "Runtime"):
                browser.call(f"{domain}.enable", session)
            browser.call("Emulation.setDeviceMetricsOverride", session, **SIZE)
            browser.call("Page.navigate", session, url=url)
            wait_until_drawn(browser, session, url)
            loaded = response(browser, url)
            picture = browser.call("Page.captureScreenshot", session, format="png")["data"]
        finally:
            browser.close()
    if (loaded["status"], loaded["securityState"]) != (200, "secure"):
        raise SystemExit(f"browser.py: {url}: status {loaded['status']}, {loaded['securityState']}")
    Path(out).write_bytes(base64.b64decode(picture))
    details = loaded["securityDetails"]
    print(f"Chromium: {loaded['status']}, {loaded['protocol']}, {details['protocol']}, secure")
    print(f"certificate: issued by {details['issuer']} for {', '.join(details['sanList'])}")


if __name__ == "__main__":
    main(*sys.argv[1:])
