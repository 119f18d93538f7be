"""The product's inference worker, but one image ends its process: ``python -m tests.faults.poisoned_worker ...``.

``POISON`` is the SHA-256 of the image's input tensor. The arguments are those of ``celery``.
"""

import hashlib
import os
import signal
import sys
from typing import Any

from celery.__main__ import main

from ml.model.predictor import Predictor

_real = Predictor.predict


def _predict(self: Predictor, batch: Any) -> Any:
    if any(hashlib.sha256(film.tobytes()).hexdigest() == os.environ["POISON"] for film in batch):
        os.kill(os.getpid(), signal.SIGKILL)
    return _real(self, batch)


if __name__ == "__main__":
    Predictor.predict = _predict  # type: ignore[method-assign]
    sys.exit(main())
