"""Reads images: decode, predict, check the input. It stores nothing.

Inference workers, ``/predict``, ``manage.py predict`` and previews all read by this module. They differ in where an
image comes from (a stored instance, a file, an array) and in what they do with its result.
"""

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from apps.core.errors import ObjectLostError, UnavailableError
from apps.core.metrics import FORWARD_SECONDS
from apps.core.retry import outage_of
from apps.registry import engine
from apps.studies.models import Instance
from apps.studies.storage import is_local_storage, local_path

logger = logging.getLogger(__name__)
# Each download from a remote storage mostly waits for the network.
_DOWNLOADS_AT_ONCE = 8


class DeviceFailedError(UnavailableError):
    """The network fails on the golden image as well, so the device is the cause and no image."""

    default_code = "device-failed"


@dataclass(frozen=True)
class ReadingFailure:
    """The machine failed, and another attempt may succeed. ``code`` is as in `apps.core.retry.FAILURES`."""

    code: str
    detail: str


@dataclass(kw_only=True, eq=False)
class ImageReading:
    """One image and its result so far. Only one thread uses it at a time.

    It ends with probabilities, with a refusal, or with a failure.

    Attributes:
        name: the caller's name for the image.
        path, instance: the file or the stored instance to decode; both None where the caller preprocessed the image.
        stored_size: rows and columns by the image's attributes; the reply of the decoder is compared with them.
        refusal: why the image must not be scored; another attempt would not help.
        failure: why there is no result though the image may be good.
        reached_input_check: whether the input check decided; False where the image could not be read.
        decoding: the decoder's answer, from `ImageReader.start_decoding` on.
        input_tensor: uint8 (S, S), from decoding until the network has computed it.
        thorax: where the input shows the thorax, as in `engine.LoadedInput`; None where the caller preprocessed it.
        rows, columns: the size of the displayed image, for its heatmaps.
        warnings: what a reader should know about the image.
        probabilities: calibrated, 0 to 1, by label.
        cams: class activation maps float16 (labels, h, w), in logits.
        varied: the probabilities of the image mirrored and zoomed, where ``INFERENCE_VARIED_READINGS`` asks for them.
    """

    name: str | None = None
    path: Path | None = None
    instance: Instance | None = None
    stored_size: tuple[int, int] | None = None
    refusal: engine.InputCheckResult | None = None
    failure: ReadingFailure | None = None
    reached_input_check: bool = False
    decoding: "Future[engine.LoadedInput] | None" = None
    input_tensor: NDArray[np.uint8] | None = None
    thorax: NDArray[np.uint8] | None = None
    rows: int = 0
    columns: int = 0
    warnings: Sequence[engine.ImageWarning] = ()
    probabilities: dict[str, float] = field(default_factory=dict)
    cams: NDArray[np.float16] | None = None
    varied: Sequence[dict[str, float]] = ()

    @property
    def input_check(self) -> "engine.InputCheckResult":
        """The result of the input check, as the public contract shows it: a failure counts as not accepted."""
        if self.failure is not None:
            return engine.InputCheckResult(False, self.failure.code, self.failure.detail)
        return self.refusal or engine.InputCheckResult(True)

    def refuse(self, code: str, detail: str) -> None:
        self.refusal = engine.InputCheckResult(False, code, detail)

    def fail(self, code: str, detail: str) -> None:
        self.failure = ReadingFailure(code, detail)

    def reject(self, error: "engine.InputRejected") -> None:
        """End with an error of the decoder: as a failure where its cause is the machine."""
        (self.fail if error.code in engine.RETRYABLE else self.refuse)(error.code, error.detail)

    def apply_check(self, result: "engine.InputCheckResult") -> None:
        """Take the input check's result, which refuses the image or lets it pass."""
        self.reached_input_check, self.refusal = True, None if result.accepted else result

    def open_file(self) -> AbstractContextManager[Path]:
        """The image as a file on this machine; a remote one is downloaded. Raises as `local_path`."""
        if self.instance is not None:
            return local_path(self.instance.object_key)
        assert self.path is not None
        return nullcontext(self.path)


class ImageReader:
    """Decodes and reads images with the child processes of a sandbox.

    Safe to use from several threads: its only state is the sandbox and a thread pool, and both are.
    """

    def __init__(self, sandbox: "engine.Sandbox") -> None:
        self._sandbox = sandbox
        self._downloads = ThreadPoolExecutor(_DOWNLOADS_AT_ONCE, thread_name_prefix="download")

    def close(self) -> None:
        """End the threads and the child processes."""
        self._downloads.shutdown()
        self._sandbox.close()

    def read(
        self,
        readings: Iterable[ImageReading],
        predictor: "engine.Predictor",
        *,
        batch: int,
        deadline: float | None = None,
    ) -> Iterator[ImageReading]:
        """Read images in their order. The next batch is decoded while the network computes one.

        Args:
            readings: taken batch by batch.
            batch: the number of images that the network computes at once.
            deadline: on the clock of ``time.monotonic``.

        Raises:
            DeviceFailedError: as `predict`.
            UnavailableError: the deadline passed.
        """
        source = iter(readings)
        ahead: deque[tuple[list[ImageReading], ExitStack]] = deque()
        try:
            while started := list(islice(source, batch)):
                ahead.append((started, self.start_decoding(started, predictor.manifest.input_space)))
                if len(ahead) > 1:
                    yield from _finish(*ahead.popleft(), predictor, deadline)
            if ahead:
                yield from _finish(*ahead.popleft(), predictor, deadline)
        finally:
            for _, decodings in ahead:
                decodings.close()

    def start_decoding(self, readings: Sequence[ImageReading], space: "engine.InputSpace") -> ExitStack:
        """Start to decode the images that have neither a refusal nor a failure; then call `finish_decoding`.

        Returns:
            A context whose end cancels what has not started, and removes the copies of remote objects.
        """
        in_turn: Any = map if is_local_storage() else self._downloads.map
        with ExitStack() as decodings:
            list(in_turn(lambda reading: self._start(reading, space, decodings), readings))
            return decodings.pop_all()

    def _start(self, reading: ImageReading, space: "engine.InputSpace", decodings: ExitStack) -> None:
        if reading.refusal is not None or reading.failure is not None:
            return
        try:
            path = decodings.enter_context(reading.open_file())
        except ObjectLostError as error:
            # Another attempt would not help: the sender must send the image again, and the study shows that.
            reading.refuse(error.code, error.detail)
        # A missing file, a full disk, or any exception of the client of the object storage.
        except Exception as error:
            detail = f"The stored image could not be read ({type(error).__name__})."
            reading.fail(outage_of(error) or "source-unreadable", detail)
        else:
            size = reading.stored_size or ()
            reading.decoding = self._sandbox.submit(engine.load_input, path, space.to_dict(), size)
            decodings.callback(reading.decoding.cancel)


def finish_decoding(readings: Sequence[ImageReading], deadline: float | None = None) -> None:
    """Wait, and store each image's input tensor, refusal or failure in its reading.

    Args:
        deadline: on the clock of ``time.monotonic``.

    Raises:
        UnavailableError: the deadline passed.
    """
    for reading in readings:
        if reading.decoding is None:
            continue
        try:
            loaded = reading.decoding.result(None if deadline is None else max(0.0, deadline - time.monotonic()))
        except engine.InputRejected as error:
            reading.reject(error)
        except FutureTimeoutError as error:
            raise UnavailableError(
                "The images were not read in time and nothing was stored: send fewer at once, or try again.",
                "predict-timeout",
            ) from error
        else:
            reading.input_tensor, reading.rows, reading.columns = loaded.tensor_u8, loaded.rows, loaded.columns
            reading.thorax = loaded.thorax
            reading.warnings = (*loaded.warnings, *reading.warnings)
        reading.decoding = None


def _finish(
    readings: Sequence[ImageReading], decodings: ExitStack, predictor: "engine.Predictor", deadline: float | None
) -> Iterator[ImageReading]:
    with decodings:
        finish_decoding(readings, deadline)
    predict(readings, predictor)
    yield from readings


def predict(readings: Sequence[ImageReading], predictor: "engine.Predictor") -> None:
    """Compute the decoded images in one forward pass, and check them by their features.

    Raises:
        DeviceFailedError: the network fails on the golden image as well; no image has a result.
    """
    decoded = [reading for reading in readings if reading.input_tensor is not None]
    if decoded:
        tensors = np.stack([reading.input_tensor for reading in decoded if reading.input_tensor is not None])
        _predict_batch(decoded, tensors, predictor)


def predict_preprocessed(images: NDArray[np.float32], predictor: "engine.Predictor") -> list[ImageReading]:
    """Read images that the caller preprocessed: float32 (N, 3, S, S) in the version's input space.

    Raises:
        DeviceFailedError: as `predict`.
    """
    size = predictor.manifest.input_space.size
    readings = [ImageReading(rows=size, columns=size) for _ in images]
    _predict_batch(readings, images, predictor)
    return readings


def _predict_batch(readings: Sequence[ImageReading], batch: NDArray[Any], predictor: "engine.Predictor") -> None:
    try:
        _forward(readings, batch, predictor)
    # One image must not fail the others of its batch, whichever exception the runtime raised.
    except Exception:
        logger.exception("A batch of %d images failed; each is tried alone.", len(readings))
        _require_working_device(predictor)
        for index, reading in enumerate(readings):
            try:
                _forward([reading], batch[index : index + 1], predictor)
            except Exception as error:
                reading.fail("inference-error", f"The network failed on this image ({type(error).__name__}).")


def _require_working_device(predictor: "engine.Predictor") -> None:
    """Compute the golden image: after an error a GPU may fail on every input."""
    try:
        predictor.verify()
    except Exception as error:
        logger.exception("The golden image fails as well.")
        raise DeviceFailedError("The device fails on the golden image as well.") from error


def _forward(readings: Sequence[ImageReading], batch: NDArray[Any], predictor: "engine.Predictor") -> None:
    with FORWARD_SECONDS.time():
        prediction = predictor.predict(batch) if batch.dtype == np.uint8 else predictor.predict_images(batch)
    probabilities = predictor.probabilities(prediction)
    labels, varied = predictor.manifest.labels, _varied(batch, predictor)
    for index, (reading, result) in enumerate(zip(readings, predictor.check_features(prediction), strict=True)):
        reading.input_tensor = None
        reading.apply_check(result)
        if result.accepted:
            reading.probabilities = dict(zip(labels, map(float, probabilities[index]), strict=True))
            reading.varied = [dict(zip(labels, map(float, each[index]), strict=True)) for each in varied]
            reading.cams = prediction.cams[index]


def _varied(batch: NDArray[Any], predictor: "engine.Predictor") -> list[NDArray[np.float64]]:
    """Probabilities (N, L) of the images under each small change, if they are asked for.

    Images that the caller preprocessed are not changed: they may be normalised in the caller's own way.
    """
    if not settings.INFERENCE_VARIED_READINGS or batch.dtype != np.uint8:
        return []
    changed = (change(batch) for change in engine.VARIANTS.values())
    return [predictor.probabilities(predictor.predict(np.ascontiguousarray(each))) for each in changed]
