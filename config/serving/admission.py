"""Decides from a request's headers how large its body may be, before the body is received."""

import hashlib
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from importlib import import_module
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.urls import Resolver404, resolve

from apps.tenants.services import find_api_client, tenant_of_key

LARGE_BODIES = frozenset(
    {
        "dicomweb:studies", "dicomweb:study", "api:predict", "portal:upload", "portal:upload-part",
        "admin:evaluation_evaluationset_upload",
    }
)  # fmt: skip
"""The views that receive images. The credential is checked before a large body is received."""
SIGN_INS = frozenset({"portal:sign-in", "admin:login", "portal:invitation", "portal:operator-invitation"})
"""The views that hash passwords at a POST request."""
STORING = frozenset(
    {
        "dicomweb:studies", "dicomweb:study", "portal:upload", "portal:upload-part", "portal:upload-store",
        "admin:evaluation_evaluationset_upload",
    }
)  # fmt: skip
SMALL_BODY_BYTES = 2 * 1024 * 1024
"""The largest body of all other views, which receive only forms."""
MULTIPART_BYTES = 1024 * 1024
"""The space for the headers of parts, in addition to `MAX_UPLOAD_BYTES`; the views themselves limit the content."""
_KNOWN_SECONDS = 10.0
_KNOWN_MOST = 1000


class RefusedError(Exception):
    """The request is refused before the application is called; its connection is closed."""

    def __init__(self, status: HTTPStatus, detail: str, code: str) -> None:
        super().__init__(detail)
        self.status, self.detail, self.code = status, detail, code


@dataclass
class Admission:
    """The facts about a request before its body is received.

    Attributes:
        view: the name of the view; empty where the address is unknown.
        announced: the body's length; None for a chunked body of unknown length.
        limit: the most bytes that the body may have.
        wants_body: False where the application refuses the request whatever its body is.
    """

    method: str
    path: str
    view: str
    headers: dict[bytes, bytes]
    announced: int | None
    limit: int

    @property
    def has_body(self) -> bool:
        return self.announced is None or self.announced > 0

    @property
    def expects_continue(self) -> bool:
        return b"expect" in self.headers

    @property
    def wants_body(self) -> bool:
        return bool(self.view) and (self.view not in LARGE_BODIES or self._has_credentials)

    @property
    def _has_credentials(self) -> bool:
        """Whether there is a credential of a valid form."""
        if b"authorization" in self.headers:
            return tenant_of_key(self._bearer) is not None
        return bool(self._session)

    def is_known(self) -> bool:
        """Whether its credential is valid; this queries the database, so it runs in a thread."""
        if b"authorization" in self.headers:
            return _live_keys.is_live(self._bearer)
        store = import_module(settings.SESSION_ENGINE).SessionStore(self._session)
        return SESSION_KEY in store

    @property
    def _bearer(self) -> str:
        scheme, _, key = self.headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        return key.strip() if scheme.lower() == "bearer" else ""

    @property
    def _session(self) -> str:
        try:
            cookies = SimpleCookie(self.headers.get(b"cookie", b"").decode("latin-1"))
        except CookieError:
            return ""
        morsel = cookies.get(settings.SESSION_COOKIE_NAME)
        return morsel.value if morsel else ""


class _LiveKeys:
    """A short-lived cache of valid API keys; the application checks the key again after the body was received."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[bytes, float] = {}

    def is_live(self, key: str) -> bool:
        digest, now = hashlib.sha256(key.encode()).digest(), time.monotonic()
        with self._lock:
            if self._until.get(digest, 0.0) > now:
                return True
        claimed = tenant_of_key(key)
        if claimed is None or find_api_client(tenant_id=claimed[0], secret=claimed[1]) is None:
            return False
        with self._lock:
            if len(self._until) >= _KNOWN_MOST:
                self._until.clear()
            self._until[digest] = now + _KNOWN_SECONDS
        return True


_live_keys = _LiveKeys()


def admit(scope: dict[str, Any]) -> Admission:
    """Check a request's method, URL and headers; an absolute URL becomes a path and a Host (RFC 9112 3.2.2).

    Raises:
        RefusedError: the request is refused.
    """
    headers = dict(scope["headers"])
    if scope["method"] in ("CONNECT", "TRACE"):
        raise RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, "This method is not offered.", "method-not-allowed")
    if not scope["raw_path"].startswith(b"/") and scope["raw_path"] != b"*":
        _use_absolute(scope, headers)
    path = unquote_to_bytes(scope["raw_path"]).decode("utf-8", errors="replace")
    admission = Admission(scope["method"], path, "", headers, _announced(headers), SMALL_BODY_BYTES)
    if admission.has_body or scope["method"] not in ("GET", "HEAD"):
        admission.view = _view_name(path)
    if admission.view in LARGE_BODIES:
        admission.limit = settings.MAX_UPLOAD_BYTES + MULTIPART_BYTES
    if admission.wants_body and (admission.announced or 0) > admission.limit:
        raise too_large(admission.limit)
    return admission


def too_large(limit: int) -> RefusedError:
    return RefusedError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"One request may have {limit // 2**20} MiB at most here.", "too-large"
    )


def _announced(headers: dict[bytes, bytes]) -> int | None:
    return None if b"transfer-encoding" in headers else int(headers.get(b"content-length", b"0"))


def _view_name(path: str) -> str:
    try:
        return resolve(path).view_name
    except Resolver404:
        return ""


def _use_absolute(scope: dict[str, Any], headers: dict[bytes, bytes]) -> None:
    parts = urlsplit(scope["raw_path"])
    if parts.scheme.lower() not in (b"http", b"https") or not parts.netloc or b"@" in parts.netloc:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "The request's address is not valid.", "address-invalid")
    scope["raw_path"] = parts.path or b"/"
    headers[b"host"] = parts.netloc
    scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"host"]
    scope["headers"].append((b"host", parts.netloc))
