"""TLS for DIMSE with the BCP 195 profile (PS3.15 annex B.10): TLS 1.2 or newer, forward secrecy, AEAD."""

import ssl

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from apps.results.clients.tls import CIPHERS_OF_TLS_1_2


def server_context() -> ssl.SSLContext | None:
    """The SSL context of the TLS port; None where no TLS port is set.

    With ``DIMSE_TLS_CLIENT_CA`` every peer must have a certificate of these authorities.

    Raises:
        ImproperlyConfigured: a file cannot be used.
    """
    if not settings.DIMSE_TLS_PORT:
        return None
    if not settings.DIMSE_TLS_CERTIFICATE:
        raise ImproperlyConfigured("DIMSE_TLS_PORT is set: set DIMSE_TLS_CERTIFICATE and DIMSE_TLS_KEY as well.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS_OF_TLS_1_2)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    try:
        context.load_cert_chain(settings.DIMSE_TLS_CERTIFICATE, settings.DIMSE_TLS_KEY or None)
        if settings.DIMSE_TLS_CLIENT_CA:
            context.load_verify_locations(settings.DIMSE_TLS_CLIENT_CA)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise ImproperlyConfigured(
            "DIMSE_TLS_CERTIFICATE, DIMSE_TLS_KEY or DIMSE_TLS_CLIENT_CA cannot be used; each names a PEM file that "
            f"this process can read ({error})."
        ) from error
    return context
