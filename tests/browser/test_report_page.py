"""The report's page in a real browser: wide and narrow, light and dark. Screenshots are left in tests/output/report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.plugin_utils import report_html
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "tests/output/report"
BROWSER = "/usr/bin/chromium-headless-shell"

# The smallest ratio of contrast (WCAG 2.2, 1.4.3) among all texts of the page, and whose it is.
CONTRAST = """() => {
  const parse = text => { const n = text.match(/[\\d.]+/g).map(Number); return {rgb: n.slice(0, 3), alpha: n.length > 3 ? n[3] : 1}; };
  const light = rgb => { const c = rgb.map(v => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2]; };
  const behind = node => { for (let n = node; n; n = n.parentElement) {
    const c = parse(getComputedStyle(n).backgroundColor); if (c.alpha > 0) return c.rgb; } return [255, 255, 255]; };
  let worst = {ratio: 99, text: ''};
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, text = node.textContent.trim();
    if (!text || !node.parentElement.getClientRects().length) continue;
    const a = light(parse(getComputedStyle(node.parentElement).color).rgb), b = light(behind(node.parentElement));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < worst.ratio) worst = {ratio, text};
  }
  return worst;
}"""
# What sticks out of the window to the right.
OVERFLOW = """() => [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 0.5)
  .map(e => e.outerHTML.slice(0, 80))"""


@pytest.fixture(name="report", scope="module")
def report_fixture() -> dict[str, Any]:
    """A recorded report with lines of every verdict."""
    return dict(json.loads((ROOT / "tests/fixtures/report-deployment-sick.json").read_text(encoding="utf-8")))


@pytest.fixture(name="browser", scope="module")
def browser_fixture() -> Iterator[Browser]:
    """A real browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(name="page", params=[(1280, "light"), (1280, "dark"), (380, "light"), (380, "dark")], ids=lambda p: f"{p[0]}-{p[1]}")
def page_fixture(request: pytest.FixtureRequest, browser: Browser, report: dict[str, Any], tmp_path: Path) -> Iterator[Page]:
    """The page, open; whatever it fetches or complains of fails the test."""
    width, scheme = request.param
    file = tmp_path / "report.html"
    file.write_text(report_html.render(report), encoding="utf-8")
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(file.as_uri())
    yield page
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{width}-{scheme}.png", full_page=True)
    context.close()
    assert asked == [file.as_uri()]
    assert said == []


def test_it_fits_and_can_be_read(page: Page, report: dict[str, Any]) -> None:
    assert page.evaluate(OVERFLOW) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    worst = page.evaluate(CONTRAST)
    assert worst["ratio"] >= 4.5, worst
    text = page.inner_text("body")
    for line in report["lines"]:
        assert line["text"] in text
    # What failed is open, and tells the remedy; what passed is closed.
    assert "docker compose restart celery-beat" in text
    assert page.locator("details[open]").count() == report["counts"]["fail"] + report["counts"]["warn"]


def test_evidence_opens_by_keyboard(page: Page) -> None:
    closed = page.locator("details.line:not([open]):has(.check)").first
    closed.locator("summary").focus()
    page.keyboard.press("Enter")
    assert page.locator("details.line[open] .check").first.is_visible()
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"


def test_the_timeline_is_drawn(page: Page, report: dict[str, Any]) -> None:
    widths = page.eval_on_selector_all(".bar", "bars => bars.map(bar => bar.getBoundingClientRect().width)")
    seconds = [stage["seconds"] for stage in report["stages"]]
    assert len(widths) == len(seconds)
    assert widths.index(max(widths)) == seconds.index(max(seconds))
    assert min(widths) > 0
