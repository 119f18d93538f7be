"""Encryption of credentials that the platform has to show to other systems, so that the database alone reveals none.

AES-256-GCM with a key that is derived from SECRET_KEY. What was encrypted under a key of SECRET_KEY_FALLBACKS can still
be read.
"""

import base64
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.utils.crypto import salted_hmac

_NONCE_BYTES = 12


class SecretLostError(Exception):
    """A credential was encrypted under a SECRET_KEY that is no longer known: it must be entered again."""


def encrypt(text: str, *, context: str) -> str:
    """Encrypt a text; empty stays empty.

    Args:
        context: what the text is of, such as its row and column. It can be decrypted only with the same context, so
            that a value that is copied to another row is worthless.
    """
    if not text:
        return ""
    nonce = os.urandom(_NONCE_BYTES)
    sealed = AESGCM(_key(settings.SECRET_KEY)).encrypt(nonce, text.encode(), context.encode())
    return base64.b64encode(nonce + sealed).decode()


def decrypt(text: str, *, context: str) -> str:
    """What ``encrypt`` was given.

    Raises:
        SecretLostError: no key of the settings fits.
    """
    if not text:
        return ""
    sealed = base64.b64decode(text)
    for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        try:
            opened = AESGCM(_key(key)).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context.encode())
        except InvalidTag:
            continue
        return opened.decode()
    raise SecretLostError("The credential was stored under a former SECRET_KEY and cannot be read: enter it again.")


def _key(secret: str | bytes) -> bytes:
    return salted_hmac("checxray.credentials", "key", secret=secret, algorithm="sha256").digest()
