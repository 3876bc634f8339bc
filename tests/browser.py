"""Headless Chromium for tests of pages: what it complained about and what it asked the network for."""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--window-size=1280,1000"),
)

_HANDED_OVER_S = 1.0


@dataclass(frozen=True)
class Browser:
    driver: webdriver.Chrome
    downloads: Path

    def open(self, page: Path) -> None:
        self._log("browser")
        self._log("performance")
        self.driver.get(page.resolve().as_uri())

    def _log(self, kind: str) -> list[dict[str, str]]:
        entries: list[dict[str, str]] = self.driver.get_log(kind)  # type: ignore[no-untyped-call]
        return entries

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def press(self, keys: str) -> None:
        self.one("body").send_keys(keys)

    def reload(self) -> None:
        """Load the page again, once what it kept is there: a page's renderer hands its storage over a moment later, and
        the same page in a new renderer would be without what was changed in the last milliseconds."""
        time.sleep(_HANDED_OVER_S)
        self.driver.refresh()

    def is_quiet(self) -> None:
        """No message in the console, and nothing asked for but the page itself and what is inside it."""
        assert self._log("browser") == []
        messages = [json.loads(entry["message"])["message"] for entry in self._log("performance")]
        asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        # Chromium's own start page may still be loading its parts, from inside the program.
        assert [url for url in asked if not url.startswith(("file:", "data:", "blob:", "chrome"))] == []
        assert len({url for url in asked if url.startswith("file:")}) == 1


@contextmanager
def open_browser(folder: Path) -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("Chromium is not installed (Debian: chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder / "downloads")})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield Browser(opened, folder / "downloads")
    finally:
        opened.quit()
