"""An ASGI application around the WSGI application, so that no thread waits for a client.

The body is spooled first, then the application runs on a thread of its lane, then its answer is sent. A slow client
costs a connection and some spool, and is cut off when it is slower than a minimum rate.
"""

import asyncio
import contextlib
import ipaddress
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import Any

from django.conf import settings

from apps.core import problems
from apps.core.client_address import network_of
from apps.core.errors import ChecxrayError
from config.serving import admission
from config.serving.admission import Admission, RefusedError
from config.serving.exchange import Answer, Application, call, environ_of
from config.serving.lanes import Lane
from config.serving.spooled import Quota, Spooled

SLOWEST_BYTES_PER_SECOND = 1024
GRACE_SECONDS = 10.0
"""The time before the minimum rate applies to a client."""
STALL_SECONDS = 30.0
"""The longest time in which a client that was fast enough may send or receive nothing."""
DISCARD_SECONDS = 10.0
"""How long the rest of a refused body is read: a client that still sends would not see the answer."""
UNKNOWN_BYTES = 64 * 1024
"""How much of a large body is received before the sender's credential is checked."""
PIECE_BYTES = 64 * 1024

_Message = dict[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
Scope = dict[str, Any]


class _ClientRate:
    """Enforces the minimum rate at which a client must send or receive."""

    def __init__(self) -> None:
        self._waited = 0.0
        self._bytes = 0

    async def wait(self, step: Awaitable[Any]) -> Any:
        """Wait for a client's next step.

        Raises:
            TimeoutError: it is too slow.
        """
        loop = asyncio.get_running_loop()
        before = loop.time()
        left = GRACE_SECONDS + self._bytes / SLOWEST_BYTES_PER_SECOND - self._waited
        async with asyncio.timeout(min(left, STALL_SECONDS)):
            result = await step
        self._waited += loop.time() - before
        return result

    def add_bytes(self, count: int) -> None:
        self._bytes += count


class _Incoming:
    """The stream of a request's body."""

    def __init__(self, receive: _Receive, *, has_ended: bool) -> None:
        self._receive = receive
        self.has_ended = has_ended

    async def read(self) -> bytes:
        """The next piece.

        Raises:
            RefusedError: the client left before the end.
        """
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.has_ended = True
            raise RefusedError(
                HTTPStatus.BAD_REQUEST,
                "The upload was cut off; nothing was stored. Send it again.",
                "upload-cut-off",
            )
        self.has_ended = not message.get("more_body", False)
        data: bytes = message.get("body", b"")
        return data

    async def discard(self) -> None:
        """Read the rest of a body and drop it."""
        loop = asyncio.get_running_loop()
        # The loop checks the time as well: Python 3.11 can lose a cancellation that coincides with a received piece.
        until = loop.time() + DISCARD_SECONDS
        with contextlib.suppress(TimeoutError, RefusedError):
            async with asyncio.timeout_at(until):
                while not self.has_ended and loop.time() < until:
                    await self.read()


class SpoolingAdapter:
    """The ASGI application of one web process."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._quota = Quota(settings.WEB_SPOOL_BYTES, settings.WEB_SPOOL_BYTES // 2)
        self._proxies = [ipaddress.ip_network(each) for each in settings.TRUSTED_PROXIES]
        # These threads only read and write files.
        self._disk = ThreadPoolExecutor(4, thread_name_prefix="spool")
        storing = max(1, settings.WEB_THREADS // 2)
        self._pages = Lane("pages", max(1, settings.WEB_THREADS - storing), waiting=settings.WEB_WAITING)
        self._storing = Lane("storing", storing, waiting=settings.WEB_WAITING)
        # One more than `PredictLimits` admits, so that it can refuse the others at once.
        self._predicting = Lane("predict", settings.PREDICT_PENDING + 1, waiting=settings.WEB_WAITING)
        # Argon2 uses one or more cores for a tenth of a second.
        self._signing_in = Lane("sign-in", 1, waiting=settings.WEB_WAITING)
        self._credentials = Lane("credentials", 1, waiting=settings.WEB_WAITING)
        self._by_path = {
            "/healthz": Lane("healthz", 1, waiting=64),
            "/readyz": Lane("readyz", 1, waiting=64),
            # It is expensive and public, and drf-spectacular's first generation is not thread-safe.
            "/api/v1/schema/": Lane("schema", 1, waiting=64),
        }

    async def __call__(self, scope: Scope, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError("Only HTTP is served.")
        try:
            admitted = admission.admit(scope)
        except RefusedError as error:
            await _refuse(scope, send, error.status, error.detail, error.code)
            return
        incoming = _Incoming(receive, has_ended=not admitted.has_body)
        try:
            answer = await self._answer(scope, admitted, incoming)
        except RefusedError as error:
            await _refuse(scope, send, error.status, error.detail, error.code)
        except ChecxrayError as error:
            await _refuse(scope, send, problems.status_of(error), error.detail, error.code)
        else:
            # A client that waits for "100 Continue" may send its body or another request; the server cannot know.
            closes = admitted.expects_continue and not incoming.has_ended
            if closes:
                scope["extensions"]["connection.close"]()
            await self._send(scope, answer, send)
            if closes:
                return
        await incoming.discard()

    async def _answer(self, scope: Scope, admitted: Admission, incoming: _Incoming) -> Answer:
        body = Spooled(self._quota, self._address_of(scope))
        try:
            if admitted.has_body and admitted.wants_body:
                await self._receive(admitted, body, incoming)
            environ = environ_of(scope, body, is_announced=admitted.has_body)
            answer = Answer(self._quota, self._address_of(scope), is_head=admitted.method == "HEAD")
            job = partial(call, self._application, environ, body, answer)
            future = self._lane(admitted).submit(job)
        except BaseException:
            body.close()
            raise
        outcome: Answer = await _outcome(future, self._lane(admitted), body)
        return outcome

    def _address_of(self, scope: Scope) -> str:
        """The client's address or IPv6 network; empty where it has none, or where it is a proxy of many clients."""
        client = scope.get("client")
        try:
            address = ipaddress.ip_address(client[0]) if client else None
        except ValueError:
            address = None
        return "" if address is None or any(address in each for each in self._proxies) else network_of(str(address))

    def _lane(self, admitted: Admission) -> Lane:
        if (own := self._by_path.get(admitted.path)) is not None:
            return own
        if admitted.view == "api:predict":
            return self._predicting
        if admitted.method == "POST" and admitted.view in admission.SIGN_INS:
            return self._signing_in
        stores = admitted.method in ("POST", "PATCH") and admitted.view in admission.STORING
        return self._storing if stores else self._pages

    async def _receive(self, admitted: Admission, body: Spooled, incoming: _Incoming) -> None:
        """Spool the body. Where the sender's credential is not valid, stop reading and drop the body.

        Raises:
            RefusedError: it is too large, too slow or cut off.
            ChecxrayError: there is no space for it.
        """
        loop = asyncio.get_running_loop()
        rate = _ClientRate()
        must_be_known = admitted.view in admission.LARGE_BODIES
        while not incoming.has_ended:
            if must_be_known and max(admitted.announced or 0, body.size) > UNKNOWN_BYTES:
                must_be_known = False
                if not await _outcome(self._credentials.submit(admitted.is_known), self._credentials):
                    body.close()
                    return
            try:
                data = await rate.wait(incoming.read())
            except TimeoutError:
                raise RefusedError(
                    HTTPStatus.REQUEST_TIMEOUT, "The body came too slowly; send it again.", "too-slow"
                ) from None
            rate.add_bytes(len(data))
            if body.size + len(data) > admitted.limit:
                raise admission.too_large(admitted.limit)
            body.add(data)
            if body.wants_flush or (body.in_file and incoming.has_ended):
                await _finished(loop.run_in_executor(self._disk, body.flush))

    async def _send(self, scope: Scope, answer: Answer, send: _Send) -> None:
        loop = asyncio.get_running_loop()
        try:
            await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
            rate, sent = _ClientRate(), 0
            while True:
                if answer.waits_for_disk:
                    piece = await _finished(loop.run_in_executor(self._disk, answer.read_at, sent, PIECE_BYTES))
                else:
                    piece = answer.read_at(sent, PIECE_BYTES)
                sent += len(piece)
                rate.add_bytes(len(piece))
                more = sent < answer.size
                if more and not piece:
                    # The file became shorter than the length that was announced.
                    scope["extensions"]["connection.abort"]()
                    return
                await rate.wait(send({"type": "http.response.body", "body": piece, "more_body": more}))
                if not more:
                    return
        except TimeoutError:
            scope["extensions"]["connection.abort"]()
        finally:
            answer.close()


async def _outcome(future: "Future[Any]", lane: Lane, body: Spooled | None = None) -> Any:
    """The result of a job on a lane. Where the client disconnects, a running job finishes and its answer is dropped."""
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        if not future.cancel():
            future.add_done_callback(_drop)
        elif body is not None:
            body.close()
        raise
    except ChecxrayError:
        if body is not None:
            body.close()
        raise
    finally:
        lane.leave()


def _drop(future: "Future[Any]") -> None:
    if not future.cancelled() and future.exception() is None and isinstance(future.result(), Answer):
        future.result().close()


async def _finished(step: "asyncio.Future[Any]") -> Any:
    """Wait until a disk operation ends, also where the client disconnects: its file is closed afterwards."""
    try:
        return await asyncio.shield(step)
    except asyncio.CancelledError:
        await asyncio.wait([step])
        raise


async def _refuse(scope: Scope, send: _Send, status: int, detail: str, code: str) -> None:
    """Send a problem document and close the connection, because the body was not read to its end."""
    body = json.dumps(problems.problem(status, detail, code)).encode()
    headers = [
        (b"Content-Type", problems.CONTENT_TYPE.encode()),
        (b"Content-Length", str(len(body)).encode()),
    ]
    if status in problems.RETRY_AFTER_SECONDS:
        headers.append((b"Retry-After", problems.RETRY_AFTER_SECONDS[status].encode()))
    scope["extensions"]["connection.close"]()
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
