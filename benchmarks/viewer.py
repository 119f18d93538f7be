"""Measure how soon the viewer shows an image of 8 MB, and how long a step of its window takes.

    python -m benchmarks.viewer [--studies 5]

It starts the product and Chromium on this machine, with WebGL in software (SwiftShader) and without WebGL, and prints
medians in milliseconds beside the targets. "First visit" has an empty browser cache, as on the first study of a day.
Every image is opened for the first time, so the server renders its picture too.
"""

import argparse
import io
import shutil
import statistics
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.client import store_all
from benchmarks.stack import Stack, running_stack
from ml.phantom import generate, synthetic_uid, write_dicom

SIDE = 2048  # 2048 × 2048 × 2 bytes = 8.4 MB
KINDS = {"SwiftShader": "--enable-unsafe-swiftshader", "no WebGL": "--disable-3d-apis"}
TARGETS = {"page": None, "first image": 500, "full depth": 1000, "window step": 60}
STEPS = 20
WATCH = """() => {
    window.seen = {};
    const note = () => {
        const film = document.getElementById('film');
        if (film?.complete && film.naturalWidth) window.seen['first image'] ??= performance.now();
        if (document.querySelector('#stage.is-full')) window.seen['full depth'] ??= performance.now();
        if (!window.seen['full depth']) requestAnimationFrame(note);
    };
    requestAnimationFrame(note);
}"""
STEP = """async (steps) => {
    const stage = document.getElementById('stage');
    const frame = () => new Promise(requestAnimationFrame);
    await frame();
    const start = performance.now();
    for (let at = 0; at < steps; at++) {
        const key = at % 2 ? 'ArrowLeft' : 'ArrowRight';
        stage.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
        await frame();
        await frame();
    }
    return (performance.now() - start) / steps;
}"""
PAGE = "performance.getEntriesByType('navigation')[0].responseEnd"
PARTS = """() => Object.fromEntries([
    ...performance.getEntriesByType('resource')
        .filter(({ name }) => /film.png|metadata|frames|assets.index/.test(name))
        .map(({ name, requestStart, responseStart, responseEnd }) => [
            new URL(name).pathname.split('/').slice(-2).join('/'),
            [requestStart, responseStart, responseEnd].map(Math.round),
        ]),
])"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=5, help="opened one after the other in each browser")
    parser.add_argument("--parts", action="store_true", help="also print when each answer began and ended")
    given = parser.parse_args()
    with running_stack(("web",)) as stack:
        warm_up(stack)
        for name, argument in KINDS.items():
            store(stack, given.studies, name)
            with chromium(argument) as browser:
                print_kind(name, measured(signed_in(browser, stack), given.studies, shows_parts=given.parts))


def store(stack: Stack, count: int, run: str) -> None:
    """Send new studies of one image each."""
    image = generate(1, size=SIDE)
    instances = []
    for number in range(count):
        uids = [synthetic_uid("viewer", kind, run, number) for kind in ("study", "series", "image")]
        buffer = io.BytesIO()
        patient = f"VIEWER-{run}-{number}"
        write_dicom(image, buffer, patient_id=patient, study_uid=uids[0], series_uid=uids[1], sop_uid=uids[2])
        instances.append(buffer.getvalue())
    store_all(stack.url, "/dicom-web/studies", instances, {"Authorization": f"Bearer {stack.api_key}"}, connections=1)


def warm_up(stack: Stack) -> None:
    """Open a study in another browser: the web processes of a running product have answered before."""
    store(stack, 1, "warm-up")
    with chromium(KINDS["no WebGL"]) as browser:
        measured(signed_in(browser, stack), 1)


@contextmanager
def chromium(argument: str) -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        raise SystemExit("Chromium is absent: install it (apt-get install -y chromium).")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", argument])
        yield browser
        browser.close()


def signed_in(browser: Browser, stack: Stack) -> Page:
    person = stack.demo["tenants"][0]["users"][0]
    page = browser.new_page(base_url=stack.url, viewport={"width": 1600, "height": 1000})
    page.goto("/sign-in/")
    page.get_by_label("E-mail").fill(person["email"])
    page.get_by_label("Password").fill(person["password"])
    page.get_by_role("button", name="Sign in").click()
    page.locator("a.open-study").first.wait_for()
    return page


def measured(page: Page, count: int, *, shows_parts: bool = False) -> list[dict[str, float]]:
    """Milliseconds for each of the newest studies, which have not been opened."""
    addresses = [link.get_attribute("href") for link in page.locator("a.open-study").all()][:count]
    page.add_init_script(f"({WATCH})()")
    figures = []
    for address in addresses:
        page.goto(str(address))
        page.locator("#stage.is-full").wait_for(timeout=60_000)
        page.wait_for_function("seen['full depth']")
        figures.append(page.evaluate("seen") | {"page": page.evaluate(PAGE)})
        if shows_parts:
            print("  ", page.evaluate(PARTS))
        page.wait_for_timeout(500)
        page.locator("#stage").focus()
        page.keyboard.press("w")
        figures[-1]["window step"] = page.evaluate(STEP, STEPS)
    return figures


def print_kind(name: str, figures: list[dict[str, float]]) -> None:
    print(f"\n{name:<16}{'first visit':>14}{'later visits':>14}{'target':>10}")
    for key, target in TARGETS.items():
        later = statistics.median(each[key] for each in figures[1:] or figures)
        print(f"{key:<16}{figures[0][key]:>11.0f} ms{later:>11.0f} ms{f'{target} ms' if target else '':>10}")


if __name__ == "__main__":
    main()
