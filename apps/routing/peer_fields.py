"""Validation of the fields of a DICOM peer: its AE title, its network, its client certificate."""

import hashlib
import ipaddress
import re
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

AE_TITLE_LENGTH: Final = 16
_AE_TITLE: Final = re.compile(r"[ -\[\]-~]{1,16}")
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
_ATTRIBUTE: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*((?:\\.|[^,\\])+)")
HOST_LENGTH: Final = 253
LARGEST_PORT: Final = 65535
_HOST: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*")
_SPECIAL: Final = re.compile(r'([,+"\\<>;=])')
_ESCAPED: Final = r"\\\1"
_SHORT_NAMES: Final = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "stateOrProvinceName": "ST",
    "localityName": "L",
    "domainComponent": "DC",
    "serialNumber": "SERIALNUMBER",
    "emailAddress": "EMAILADDRESS",
}

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def clean_ae_title(text: str) -> str:
    """An AE title without the spaces around it, which mean nothing (PS3.5 6.2, VR AE).

    Raises:
        ValidationError: empty, longer than 16 characters, or with a character that the VR does not allow.
    """
    title = text.strip(" ")
    if not _AE_TITLE.fullmatch(title):
        raise ValidationError(
            _("Use 1 to 16 characters of ASCII: letters, digits, punctuation and spaces inside, but no backslash.")
        )
    return title


def clean_network(text: str) -> str:
    """An address or a network as CIDR notation, such as ``10.1.2.3/32``. IPv4 written inside IPv6 becomes IPv4.

    Raises:
        ValidationError: the text is neither, or no peer can send from there.
    """
    text = text.strip()
    try:
        interface = ipaddress.ip_interface(text)
    except ValueError:
        raise ValidationError(
            _("Write an address such as 10.1.2.3 or 2001:db8::7, or a network such as 10.1.2.0/24.")
        ) from None
    network: Network = interface.network
    if interface.ip != network.network_address:
        raise ValidationError(
            _("%(text)s is an address inside the network %(network)s: write %(network)s or %(ip)s.")
            % {"text": text, "network": network, "ip": interface.ip}
        )
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is not None and network.prefixlen >= 96:
        network = ipaddress.ip_network(f"{mapped}/{network.prefixlen - 96}")
    if network.prefixlen == 0:
        raise ValidationError(_("This network contains every address. Write the network that the peer sends from."))
    if network.is_multicast or (network.network_address.is_unspecified and network.num_addresses == 1):
        raise ValidationError(_("No peer can send from %(network)s.") % {"network": network})
    return str(network)


def show_network(network: str) -> str:
    """The network for display: a single address without its prefix length."""
    parsed = ipaddress.ip_network(network)
    return str(parsed.network_address) if parsed.num_addresses == 1 else network


def clean_host(text: str) -> str:
    """A host name, or an address; empty where the peer is never called.

    Raises:
        ValidationError: the text is neither.
    """
    host = text.strip().rstrip(".").lower()
    try:
        return str(ipaddress.ip_address(host)) if host else ""
    except ValueError:
        pass
    if len(host) > HOST_LENGTH or not _HOST.fullmatch(host):
        raise ValidationError(_("Write a host name such as pacs.example, or an address such as 10.1.2.3."))
    return host


def plain_address(text: str) -> Address:
    """The address of a socket's peer, without a zone; as IPv4 where it is IPv4-mapped (RFC 4291 2.5.5.2)."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def clean_certificate(text: str) -> str:
    """A client certificate's SHA-256 fingerprint as 64 hexadecimal digits, or its subject such as ``CN=ct1,O=Clinic``.

    Raises:
        ValidationError: the text is neither.
    """
    text = text.strip()
    digits = re.sub(r"[:\s]", "", text).lower()
    if not text or _FINGERPRINT.fullmatch(digits):
        return digits
    attributes = _attributes(text)
    if not attributes:
        raise ValidationError(
            _("Write the SHA-256 fingerprint (64 hexadecimal digits) or the subject, such as CN=ct1.example,O=Clinic.")
        )
    return _joined(attributes)


def subject_of(certificate: Any) -> str:
    """The subject of a certificate from ``ssl.SSLSocket.getpeercert``, in the form of ``clean_certificate``."""
    relative = [pair for each in (certificate or {}).get("subject", ()) for pair in each]
    return _joined([(_SHORT_NAMES.get(name, name).upper(), value.strip()) for name, value in relative])


def same_subject(one: str, other: str) -> bool:
    """Whether both name the same attributes; their order differs between tools (RFC 4514 2.1 writes the last first)."""
    return bool(one) and sorted(_attributes(one)) == sorted(_attributes(other))


def certificate_fits(listed: str, *, fingerprint: str, subject: str) -> bool:
    """Whether a certificate with this fingerprint and subject is the listed one; without one, every certificate is."""
    return not listed or listed == fingerprint or same_subject(subject, listed)


def fingerprint_of(certificate: bytes) -> str:
    """The SHA-256 of a certificate (DER) in hexadecimal, as ``openssl x509 -fingerprint -sha256`` prints it."""
    return hashlib.sha256(certificate).hexdigest()


def _attributes(text: str) -> list[tuple[str, str]]:
    """Type and value of each attribute of a subject (RFC 4514 2); empty where the text is none."""
    found, position = [], 0
    while position < len(text):
        match = _ATTRIBUTE.match(text, position)
        if match is None:
            return []
        found.append((match[1].upper(), re.sub(r"\\(.)", r"\1", match[2].strip())))
        position = match.end() + 1
    return found


def _joined(attributes: list[tuple[str, str]]) -> str:
    return ",".join(f"{name}={_SPECIAL.sub(_ESCAPED, value)}" for name, value in attributes)
