"""Credentials of other systems are readable only with SECRET_KEY, and only where they were stored."""

from typing import Any

import pytest

from apps.core.encryption import SecretLostError, decrypt, encrypt


def test_a_credential_is_readable_in_its_place_alone(settings: Any) -> None:
    sealed = encrypt("token-é", context="row 1")
    assert "token" not in sealed
    assert sealed != encrypt("token-é", context="row 1")
    assert decrypt(sealed, context="row 1") == "token-é"
    with pytest.raises(SecretLostError):
        decrypt(sealed, context="row 2")
    former = settings.SECRET_KEY
    settings.SECRET_KEY = "another"
    with pytest.raises(SecretLostError, match="enter it again"):
        decrypt(sealed, context="row 1")
    settings.SECRET_KEY_FALLBACKS = [former]
    assert decrypt(sealed, context="row 1") == "token-é"
    assert encrypt("", context="row 1") == decrypt("", context="row 1") == ""
