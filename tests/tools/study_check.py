#!/usr/bin/env python3
"""A study's results.json fits its schema, and its page is drawn by a browser without complaint.

study_check.py RESULTS.json SCHEMA.json PAGE.html SCREENSHOT.png

What can be checked is: without python3-jsonschema the page still is, without Chromium the schema.
Exit status 77 when one of them is missing and the rest is good.
"""

import html.parser
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib

try:
    import jsonschema
except ImportError:
    # The first python3 on PATH need not be the one that Debian's packages are for.
    if sys.executable != "/usr/bin/python3" and os.path.exists("/usr/bin/python3"):
        os.execv("/usr/bin/python3", ["/usr/bin/python3"] + sys.argv)
    jsonschema = None

SHAPES = {"path", "circle", "rect", "line"}
# What a plot is made of before anything is drawn into it, and what hears the pointer only.
FRAME = {"grid", "axis", "band", "readout", "hit", "break", "break-line", "leader", "reference",
         "stage", "zero"}
VOID = {"meta", "link", "br", "img", "hr", "input"}
UNFINITE = re.compile(r"(?<![A-Za-z])-?(nan|inf|infinity|undefined)(?![A-Za-z])", re.IGNORECASE)


def fail(message):
    sys.exit(f"study_check: {message}")


def refuse_constant(name):
    fail(f"results: {name} is no JSON")


def check_results(path, schema_path):
    with open(path, encoding="utf-8") as file:
        results = json.load(file, parse_constant=refuse_constant)
    if jsonschema is None:
        return
    with open(schema_path, encoding="utf-8") as file:
        schema = json.load(file)
    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    errors = sorted(validator(schema).iter_errors(results), key=lambda e: list(e.absolute_path))
    for error in errors[:10]:
        where = "/".join(str(step) for step in error.absolute_path)
        print(f"{path}: {where}: {error.message[:200]}", file=sys.stderr)
    if errors:
        fail(f"results: {len(errors)} breaches of the schema")


class Plots(html.parser.HTMLParser):
    """Counts each picture's drawn marks, and looks at every attribute."""

    def __init__(self):
        super().__init__()
        self.open = []
        self.marks = []  # of each <svg>
        self.figures = []  # pictures in each <figure>
        self.faults = []
        self.height = 900.0  # of the page, about

    def handle_starttag(self, tag, attrs):
        self.start(tag, dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.start(tag, dict(attrs))

    def start(self, tag, attributes):
        if tag == "script":
            self.faults.append("a <script>")
        if tag == "figure":
            self.figures.append(0)
        self.height += {"tr": 34, "li": 36, "h2": 120, "h3": 60, "p": 30}.get(tag, 0)
        if tag == "svg":
            self.marks.append(0)
            self.height += float(attributes.get("height") or 0) + 90
            if "figure" in self.open:
                self.figures[-1] += 1
        for name in ("src", "href", "srcset", "data"):
            if not (attributes.get(name) or "data:").startswith(("data:", "#")):
                self.faults.append(f"<{tag}> fetches {attributes[name]}")
        if "svg" not in self.open:
            return
        for name, value in attributes.items():
            if name not in ("class", "aria-label") and UNFINITE.search(value or ""):
                self.faults.append(f'<{tag} {name}="{value}">')
        if tag in SHAPES and self.drawn(tag, attributes):
            self.marks[-1] += 1

    @staticmethod
    def drawn(tag, attributes):
        if FRAME & set((attributes.get("class") or "").split()):
            return False
        if tag == "path":
            return bool(re.search(r"M\s*-?[\d.]", attributes.get("d") or ""))
        if tag == "circle":
            return float(attributes.get("r") or 0) > 0
        if tag == "rect":
            return all(float(attributes.get(side) or 0) > 0 for side in ("width", "height"))
        return True

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass


def browser():
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        found = shutil.which(name)
        if found:
            return found
    return None


def run_browser(program, page, arguments):
    """Standard output and what the console said."""
    with tempfile.TemporaryDirectory(prefix="offshoot_study_") as home:
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                   "--disable-dev-shm-usage", f"--user-data-dir={home}/profile",
                   "--enable-logging=stderr", "--v=0", "--virtual-time-budget=3000", *arguments,
                   "file://" + os.path.abspath(page)]
        environment = dict(os.environ, HOME=home)
        done = subprocess.run(command, capture_output=True, timeout=120, env=environment,
                              check=False)
    log = done.stderr.decode(errors="replace")
    if done.returncode != 0:
        fail(f"browser: exit status {done.returncode}\n{log[-2000:]}")
    return done.stdout.decode(errors="replace"), [l for l in log.splitlines() if "CONSOLE" in l]


def check_plots(markup):
    plots = Plots()
    plots.feed(markup)
    plots.close()
    if plots.faults:
        fail("page: " + "; ".join(plots.faults[:5]))
    if not plots.figures or not plots.marks:
        fail("page: no picture in it")
    for i, count in enumerate(plots.figures):
        if count == 0:
            fail(f"page: figure {i} holds no picture")
    for i, count in enumerate(plots.marks):
        if count == 0:
            fail(f"page: nothing is drawn in picture {i}")
    return len(plots.marks), sum(plots.marks), int(min(plots.height, 16000))


def read_png(path):
    """Width, height and the rows of an 8-bit RGB or RGBA picture, filters undone."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        fail(f"screenshot: {path} is no PNG")
    at, packed, header = 8, b"", None
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            packed += body
        at += 12 + length
    width, height, depth, colour = header[:4]
    if depth != 8 or colour not in (2, 6):
        fail(f"screenshot: depth {depth}, colour type {colour}")
    return width, height, {2: 3, 6: 4}[colour], zlib.decompress(packed)


def check_screenshot(path):
    """Not one colour: of the raw bytes of its rows, many differ from the row above."""
    width, height, channels, raw = read_png(path)
    stride = width * channels + 1
    rows = {raw[i * stride:(i + 1) * stride] for i in range(height)}
    if width < 800 or height < 400 or len(rows) < 100:
        fail(f"screenshot: {width} x {height} with {len(rows)} different rows is blank")
    return width, height


def check_page(page, screenshot):
    program = browser()
    if program is None:
        with open(page, encoding="utf-8") as file:
            pictures, marks, _ = check_plots(file.read())
        print(f"{pictures} pictures with {marks} marks, read without a browser")
        return False
    markup, complaints = run_browser(program, page, ["--dump-dom", "--window-size=1200,1000"])
    pictures, marks, tall = check_plots(markup)
    _, more = run_browser(program, page,
                          [f"--screenshot={os.path.abspath(screenshot)}",
                           f"--window-size=1200,{tall}"])
    if complaints or more:
        fail("console: " + "; ".join((complaints + more)[:5]))
    width, height = check_screenshot(screenshot)
    print(f"{pictures} pictures with {marks} marks; {screenshot}: {width} x {height}")
    return True


def main():
    if len(sys.argv) != 5:
        fail("usage: study_check.py RESULTS.json SCHEMA.json PAGE.html SCREENSHOT.png")
    results, schema, page, screenshot = sys.argv[1:]
    check_results(results, schema)
    drawn = check_page(page, screenshot)
    missing = [name for name, there in (("python3-jsonschema", jsonschema is not None),
                                        ("chromium", drawn)) if not there]
    if missing:
        print(f"skipped in part: {' and '.join(missing)} not installed")
        sys.exit(77)


if __name__ == "__main__":
    main()
