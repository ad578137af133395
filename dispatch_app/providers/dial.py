"""Which addresses may be dialled.

The check stands at the socket itself: whatever a name resolved to, however an address was spelled, and whenever the
resolver changed its mind, no connection is opened to an address that is refused here.
"""

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

# Which of these `is_global` knows differs between releases of Python.
_SPECIAL_V4 = tuple(map(IPv4Network, ("192.0.0.0/24", "192.88.99.0/24", "100.64.0.0/10", "240.0.0.0/4")))
_SPECIAL_V6 = tuple(
    map(
        IPv6Network,
        (
            "64:ff9b:1::/48",
            "100::/64",
            "fec0::/10",
            "2001::/23",
            "2001:db8::/32",
            "3fff::/20",
            "5f00::/16",
            "::ffff:0:0:0/96",
        ),
    )
)
_NAT64 = ip_network("64:ff9b::/96")
_SIX_TO_FOUR = ip_network("2002::/16")
_TEREDO = ip_network("2001::/32")
_COMPATIBLE = ip_network("::/96")

AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[object, ...]]


class AddressRefusedError(OSError):
    """The address is not one of the public internet."""


def is_public(address: str) -> bool:
    """Whether an address literal is one of the public internet, with addresses wrapped in IPv6 unwrapped first."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return _is_public_v4(parsed)
    return _is_public_v6(parsed)


def open_public_socket(info: AddressInfo) -> socket.socket:
    """Create the socket for one dial.

    :raises AddressRefusedError: if the address is private, loopback, link-local, shared or otherwise not public.
    """
    if not is_public(str(info[4][0])):
        raise AddressRefusedError
    return open_socket(info)


def open_socket(info: AddressInfo) -> socket.socket:
    """Create the socket for one dial to whatever address: for providers that are allowed private networks."""
    family, kind, protocol, _, _ = info
    return socket.socket(family=family, type=kind, proto=protocol)


def _is_public_v4(address: IPv4Address) -> bool:
    return _is_ordinary(address) and not any(address in network for network in _SPECIAL_V4)


def _is_public_v6(address: IPv6Address) -> bool:
    wrapped = _wrapped_v4(address)
    if wrapped is not None:
        return _is_public_v4(wrapped)
    return _is_ordinary(address) and not any(address in network for network in _SPECIAL_V6)


def _is_ordinary(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not address.is_multicast


def _wrapped_v4(address: IPv6Address) -> IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _SIX_TO_FOUR:
        return address.sixtofour
    if address in _TEREDO:
        return address.teredo[1] if address.teredo else None
    if address in _NAT64 or address in _COMPATIBLE:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None
