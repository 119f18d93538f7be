"""The process that opens a foreign file: `python -m ml.importers.child MEMORY_BYTES CPU_SECONDS`, file on stdin.

After its imports it can open no file, socket or process. It writes only its two outputs: safetensors on stdout, with
the facts as JSON in the metadata, or a refusal on stderr.
"""

import codecs
import json
import os
import resource
import sys

from safetensors.numpy import save

from ml.importers.collect import MAX_OUTPUT_BYTES, collect
from ml.importers.errors import ImportRefused
from ml.importers.pickles import unpickle
from ml.sandbox.confinement import leave_network

REFUSED = 3
"""Exit status of a refusal, whose reason is on stderr."""

OUT_OF_MEMORY = 4


def main() -> int:
    """Read the file and write the tensors. Returns the exit status."""
    memory_bytes, cpu_seconds = (int(argument) for argument in sys.argv[1:3])
    source, out = os.fdopen(0, "rb", closefd=False), os.fdopen(1, "wb", closefd=False)
    for encoding in ("cp437", "latin-1", "ascii", "utf-8"):
        # Encodings of names in archives and old pickles. Python opens a module file for each on first use.
        codecs.lookup(encoding)
    leave_network()
    _limit(memory_bytes, cpu_seconds)
    try:
        tensors, facts = collect(unpickle(source))
        out.write(save(tensors, metadata={"facts": json.dumps(facts, allow_nan=True)}))
        out.flush()
    except ImportRefused as refusal:
        sys.stderr.write(str(refusal))
        return REFUSED
    except MemoryError:
        return OUT_OF_MEMORY
    return 0


def _limit(memory_bytes: int, cpu_seconds: int) -> None:
    wanted = {
        "RLIMIT_AS": memory_bytes,
        "RLIMIT_CPU": cpu_seconds,
        "RLIMIT_FSIZE": MAX_OUTPUT_BYTES,
        "RLIMIT_CORE": 0,
        "RLIMIT_NPROC": 0,
        # Open files stay open; no other file can be opened.
        "RLIMIT_NOFILE": 0,
    }
    for name, value in wanted.items():
        try:
            resource.setrlimit(getattr(resource, name), (value, value))
        except (AttributeError, ValueError, OSError):
            # macOS has no RLIMIT_AS; the limits of the unpickler remain.
            continue


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # Without the interpreter's shutdown, which might open files.
    os._exit(status)
