import os
import secrets
import subprocess
import sys

from tests.services import ROOT


def check_deployment(**environment: str) -> subprocess.CompletedProcess[str]:
    """What Django finds wrong with the settings of such an environment."""
    return subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env=os.environ | {"SECRET_KEY": secrets.token_urlsafe(48)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_deployment_behind_tls_has_nothing_that_django_warns_of():
    done = check_deployment(SECURE="1", WHITENOISE_USE_FINDERS="0")

    assert done.returncode == 0, done.stderr


def test_a_deployment_that_forgot_tls_is_warned():
    done = check_deployment(SECURE="0")

    assert done.returncode == 1
    assert "SECURE_HSTS_SECONDS" in done.stderr
