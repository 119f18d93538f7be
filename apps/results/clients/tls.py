"""TLS towards DICOM peers with the BCP 195 profile (PS3.15 annex B.10): TLS 1.2 or newer, forward secrecy, AEAD."""

import ssl
from typing import Any, Final

from django.conf import settings

from apps.routing.peer_fields import certificate_fits, fingerprint_of, subject_of

CIPHERS_OF_TLS_1_2: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


def client_context(certificate: str) -> ssl.SSLContext:
    """The SSL context for one peer.

    The peer's certificate must come from an authority of ``DIMSE_TLS_CLIENT_CA``, or of the system where that is not
    set. It must be for the host that is called, or be the one that is listed. Ours is the one of the TLS port.

    Args:
        certificate: the fingerprint or subject that is listed for the peer; empty: the host name decides.

    Raises:
        OSError: a file of the settings cannot be used.
    """
    context = ssl.create_default_context(cafile=settings.DIMSE_TLS_CLIENT_CA or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS_OF_TLS_1_2)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if settings.DIMSE_TLS_CERTIFICATE:
        context.load_cert_chain(settings.DIMSE_TLS_CERTIFICATE, settings.DIMSE_TLS_KEY or None)
    context.check_hostname = not certificate
    return context


def require_certificate(connected: ssl.SSLSocket, certificate: str) -> None:
    """Check that the peer showed the certificate that is listed for it.

    Raises:
        ssl.SSLError: it showed another one.
    """
    shown: Any = connected.getpeercert(binary_form=True) or b""
    subject = subject_of(connected.getpeercert())
    if certificate and not certificate_fits(certificate, fingerprint=fingerprint_of(shown), subject=subject):
        raise ssl.SSLError("The peer's certificate is not the one that is listed.")
