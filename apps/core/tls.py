"""TLS towards servers that a tenant names: its own authorities, and a client certificate to show (RFC 8446 4.4.2)."""

import os
import ssl
from dataclasses import dataclass


class CertificateError(ValueError):
    """Certificates or a key in PEM that cannot be used; the message says which."""


@dataclass(frozen=True)
class ClientTls:
    """How to verify a server and how to show who we are, all in PEM.

    Attributes:
        authorities: the CA certificates that vouch for the server; empty: those of the system.
        certificate: the client certificate with its chain; empty: none is shown.
        key: its private key, without a passphrase.
    """

    authorities: str = ""
    certificate: str = ""
    key: str = ""

    def context(self) -> ssl.SSLContext:
        """The SSL context.

        Raises:
            CertificateError
        """
        try:
            context = ssl.create_default_context(cadata=self.authorities or None)
        except (ssl.SSLError, ValueError) as error:
            raise CertificateError("The CA certificates cannot be read: paste them as PEM.") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate:
            _load_pair(context, f"{self.key.strip()}\n{self.certificate.strip()}\n")
        return context


def _load_pair(context: ssl.SSLContext, pem: str) -> None:
    # `ssl` reads certificate and key from a file only. This one is in memory and has no name, so the key is not written
    # to a disk.
    file = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
    try:
        os.write(file, pem.encode())
        # Without a function OpenSSL would ask for a passphrase at the terminal.
        context.load_cert_chain(f"/proc/self/fd/{file}", password=lambda: "")
    except (ssl.SSLError, ValueError, OSError) as error:
        raise CertificateError(
            "The client certificate and its private key cannot be read, or do not belong together: paste both as PEM, "
            "the key without a passphrase."
        ) from error
    finally:
        os.close(file)
