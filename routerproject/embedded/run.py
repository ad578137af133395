"""`python -m routerproject.embedded.run FOLDER COMMAND …`: runs a command with PostgreSQL and Redis of its own at hand.

They live in a folder below FOLDER that is removed afterwards; `DATABASE_URL` and `CELERY_BROKER_URL` name other servers.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from routerproject.embedded.errors import NotStartedError
from routerproject.embedded.services import temporary_services


def main(arguments: Sequence[str]) -> int:
    """Run the command and answer its exit code; 1 with a line on standard error when the services do not start."""
    environment = dict(os.environ)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with temporary_services(Path(arguments[0]), environment):
            return _run(arguments[1:], environment)
    except NotStartedError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    process = subprocess.Popen(command, env=environment)  # noqa: S603
    # The command shares the terminal and gets its own Ctrl-C; a SIGTERM is passed on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
