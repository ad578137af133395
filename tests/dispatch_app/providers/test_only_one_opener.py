"""One function of the project opens upstream connections; nothing else even imports what could."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PRODUCT = ("routerproject", "policies_app", "dispatch_app")
OPENER = "dispatch_app/providers/transport.py"
NETWORK_MODULES = {
    "aiohttp",
    "ftplib",
    "httpcore",
    "httpx",
    "httpx2",
    "httpx_aiohttp",
    "openai",
    "requests",
    "smtplib",
    "socketserver",
    "telnetlib",
    "urllib3",
    "websockets",
}
NETWORK_NAMES = {"http.client", "urllib.request", "xmlrpc.client"}
OPENING_CALLS = {
    "create_connection",
    "open_connection",
    "open_unix_connection",
    "sock_connect",
    "handle_async_request",
}

MAY_IMPORT = {
    OPENER: NETWORK_MODULES,
    "dispatch_app/providers/upstream.py": {"httpx"},  # for the type of a response
    "routerproject/embedded/up.py": {"http"},  # waits for the web process that it started itself
}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for package in PRODUCT:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def imported(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def called(tree: ast.Module) -> set[str]:
    functions = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {function.attr for function in functions if isinstance(function, ast.Attribute)}


def test_no_other_module_imports_what_can_open_a_connection() -> None:
    found = {
        path: used
        for path, tree in sources()
        if (
            used := {
                name
                for name in imported(tree)
                if (name.partition(".")[0] in NETWORK_MODULES or name in NETWORK_NAMES)
                and name.partition(".")[0] not in MAY_IMPORT.get(path, set())
            }
        )
    }

    assert found == {}


def test_no_other_module_calls_what_opens_a_connection() -> None:
    found = {
        path: used for path, tree in sources() if path != OPENER and (used := called(tree) & OPENING_CALLS)
    }

    assert found == {}


def test_the_opener_sends_in_one_place() -> None:
    tree = ast.parse((ROOT / OPENER).read_text())
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "handle_async_request"
    ]

    assert len(calls) == 1
