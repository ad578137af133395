"""`make screenshots`: takes the README's pictures, of the real pages over the demo's data."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Page, sync_playwright  # noqa: E402

from bench.gateway import gateway  # noqa: E402

IMAGES = ROOT / "docs" / "images"
DEBIAN_CHROMIUMS = (Path("/usr/bin/chromium-headless-shell"), Path("/usr/bin/chromium"))
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def main() -> None:
    """Fill the database that DATABASE_URL names with the demo, serve it, and take every picture."""
    with tempfile.TemporaryDirectory() as folder:
        demo_file = Path(folder) / "demo.json"
        manage("migrate", "--verbosity", "0")
        manage(
            "seed_demo", "--base-url", "http://127.0.0.1", "--sandbox-url", "http://127.0.0.1:9", "--output", str(demo_file)
        )  # fmt: skip
        manage(
            "shell",
            "--verbosity",
            "0",
            "-c",
            "from dispatch_app.rollups.drain import drain_deltas; drain_deltas()",
        )
        demo = json.loads(demo_file.read_text(encoding="utf-8"))
    with gateway() as running, browser_page() as page:
        log_in(page, f"{running.base_url}/admin/", demo["admin_user"], demo["admin_password"])
        page.goto(f"{running.base_url}/admin/policies_app/policy/")
        page.get_by_role("link", name="auto", exact=True).click()
        take(page, "admin-policy")
        page.get_by_role("link", name="support", exact=True).click()
        take(page, "admin-rule")
    with gateway() as running, browser_page() as page:
        log_in(page, f"{running.base_url}/costs/", demo["finance_user"], demo["finance_password"])
        page.get_by_role("link", name="Acme GmbH").click()
        take(page, "costs-tenant")


@contextlib.contextmanager
def browser_page():
    """A page of a desktop's size, in a browser of its own."""
    with sync_playwright() as playwright:
        executable = next(filter(Path.exists, DEBIAN_CHROMIUMS), None)
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser.new_page(viewport={"width": 1280, "height": 860})
        browser.close()


def log_in(page: Page, url: str, user: str, password: str) -> None:
    """Fill in the log-in form that `url` leads to."""
    page.goto(url)
    page.fill("input[name=username]", user)
    page.fill("input[name=password]", password)
    page.click("button[type=submit]")
    page.wait_for_load_state()


def take(page: Page, name: str) -> None:
    """Save what the window shows."""
    page.wait_for_load_state("networkidle")
    page.screenshot(path=IMAGES / f"{name}.png")
    print(f"docs/images/{name}.png")


def manage(*command: str) -> None:
    """Run a management command."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "manage.py", *command], cwd=ROOT, env=environment, check=True)


if __name__ == "__main__":
    main()
