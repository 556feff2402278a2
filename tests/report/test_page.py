"""The HTML report: what is in it, and what a browser makes of it where there is one."""

import html
import json
import re
import shutil
import subprocess
import sys

import pytest

from arch.report.folder import write_report
from tests.report.test_report import ARMS, folder, line, lost  # noqa: F401  folder is a fixture

pytestmark = pytest.mark.usefixtures("pictures")

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
MEASURE = """<script>
const button = document.querySelector('button'), popover = document.querySelector('[popover]');
const closed = !popover.matches(':popover-open');
button.click();
document.title = JSON.stringify({
  wide: document.documentElement.scrollWidth - window.innerWidth,
  page: getComputedStyle(document.body).backgroundColor,
  text: getComputedStyle(document.body).color,
  opens: closed && popover.matches(':popover-open'),
  said: popover.innerText,
  pictures: [...document.querySelectorAll('svg')].map(x => x.getBoundingClientRect().right),
  inner: window.innerWidth,
});
</script>"""


@pytest.fixture
def page(folder):  # noqa: F811
    path = folder([*ARMS, lost("k6", 3)], {"baseline": "k0", "x": {"k0": 0, "k6": 6}})
    write_report(path, ["html"])
    return path / "report.html"


def test_a_page_is_small_fetches_nothing_and_leaves_no_pictures_behind(page):
    text = page.read_text()
    assert len(text) < 1_500_000
    assert "<script" not in text and not re.search(r'(src|href)="(?!#)', text)
    assert text.count("<figure><svg") == 1 and [p.name for p in page.parent.glob("*.svg")] == []


def test_an_order_is_a_strip_of_letters_and_a_cell_opens_its_seeds(page):
    text = page.read_text()
    orders = re.findall(
        r'<td><span title="([^"]*)"><span class="order"[^>]*>(.*?)</span></span>', text
    )
    assert orders
    for order, strip in orders:
        letters = re.findall(r">(\w)<", strip + "<")
        assert len(letters) >= len(re.findall(r"[a-z]", order))
    for place, cell in enumerate(("k0", "k6")):
        assert f"<button popovertarget=row{place}>{cell}</button>" in text
        origin = text[text.index(f"<div popover id=row{place}>") :].split("</dl>")[0]
        seeds = [x for x in [*ARMS, lost("k6", 3)] if x["cell"] == cell]
        assert origin.count("<tr>") == 1 + len(seeds) and "<dt>Code<dd>git" in origin
        for x in seeds:
            assert f">{x['seed']}</td>" in origin and x["hash"][:8] in origin


@pytest.mark.skipif(not BROWSER, reason="there is no chromium")
@pytest.mark.parametrize("width, dark", [(1200, False), (1200, True), (390, False)])
def test_a_browser_shows_it_on_a_phone_in_the_dark_and_opens_provenance(page, width, dark):
    measured = page.with_name("measured.html")
    measured.write_text(page.read_text().replace("</body>", MEASURE + "</body>"))
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},844",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--dump-dom",
            measured.as_uri(),
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    print(done.stderr, file=sys.stderr)
    (title,) = re.findall(r"<title>(.*?)</title>", done.stdout, re.S)
    found = json.loads(html.unescape(title))
    assert found["wide"] <= 0 and found["pictures"]
    assert all(right <= found["inner"] for right in found["pictures"])
    assert found["opens"] and "Versions" in found["said"] and "k0" in found["said"]
    bright = [sum(map(int, re.findall(r"\d+", found[x])[:3])) for x in ("page", "text")]
    assert (bright[0] < bright[1]) == dark
