"""The catalogue is what the installed package holds: nothing is fetched, and who does not need it does not load it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

WITHOUT_NETWORK = """
import socket, threading

def refuse(*arguments, **options):
    raise AssertionError("a socket was opened")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from policies_app.price_catalogue.lookup import find_published
from policies_app.routing.codes import WireFormat
from datetime import datetime, UTC
found = find_published(
    base_url="https://api.openai.com/v1", wire_format=WireFormat.OPENAI_CHAT, wire_name="gpt-5-mini", at=datetime(2026, 11, 28, tzinfo=UTC)
)
from genai_prices import data_snapshot, update_prices
import gc, httpx2
assert threading.enumerate() == [threading.main_thread()], threading.enumerate()
assert update_prices._shared_updater.thread is None
assert data_snapshot._custom_snapshot is None
assert not [one for one in gc.get_objects() if isinstance(one, (httpx2.Client, httpx2.AsyncClient))]
print(found)
"""

WEB_PROCESS = """
import sys
import django
django.setup()
import routerproject.asgi, routerproject.urls, routerproject.navigation
from django.contrib import admin
admin.autodiscover()
print("genai_prices" in sys.modules)
"""


def run(script: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "routerproject.settings"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=ROOT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_looking_a_price_up_opens_no_connection_and_starts_no_thread() -> None:
    assert run(WITHOUT_NETWORK) == "openai/gpt-5-mini"


def test_a_web_process_does_not_load_it_before_somebody_asks() -> None:
    assert run(WEB_PROCESS) == "False"
