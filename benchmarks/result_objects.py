"""Measure the CPU time of a study's result objects: picture, Secondary Capture, Structured Report, check.

    python -m benchmarks.result_objects [--rounds 10] [--rows 3000] [--columns 2500]

Prints CPU milliseconds for each step and their sum (goal: at most 150 for a study). All findings are flagged, which is
the dearest case. Neither the database nor the object storage takes part. The picture is decoded in this process.
"""

import argparse
import datetime
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from apps.results.objects.capture import SIDE, Outline, Picture, build_secondary_capture
from apps.results.objects.check import check_object
from apps.results.objects.content import Algorithm, CalledFinding, ObjectIdentity, ResultContent, SourceImage
from apps.results.objects.identity import encode
from apps.results.objects.structured_report import build_structured_report
from ml.labels import LABELS
from ml.model.regions import strongest_region
from ml.model.saliency import CamScale, heatmap_rgba
from ml.model.serving_input import render_grey
from ml.model.transforms import Geometry, InputSpace
from ml.phantom import generate, write_dicom

IDENTITY = ObjectIdentity("2.25.11", "2.25.12", 1)
SCALE = CamScale(0.0, 4.0)


def content() -> ResultContent:
    return ResultContent(
        patient_study={"PatientName": "SYNTHETIC^Alpha", "PatientID": "1", "StudyInstanceUID": "2.25.13"},
        reading="benchmark",
        source=SourceImage("1.2.840.10008.5.1.4.1.1.1.1", "2.25.14", "2.25.15", 3000, 2500),
        algorithm=Algorithm("chest-net", "chest-net:1", "2.25.16"),
        at=datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
        findings=tuple(CalledFinding(label, 0.7, 0.4, True, False, region=(1, 2, 300, 400)) for label in LABELS),
        probability_any=0.9,
        threshold_any=0.5,
        refusal=(),
        remarks=(),
        is_partial=False,
        signature=None,
        manufacturer="Checxray",
        notice="Investigational. Not for diagnostic use.",
    )


def picture(path: Path, cam: np.ndarray) -> Picture:
    """The steps of `apps.results.creation` for the picture, with four outlines."""
    grey = Image.open(io.BytesIO(_png(render_grey(path, 1536)))).convert("L")
    geometry = Geometry.of(grey.height, grey.width, InputSpace(224))
    grey.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    region = strongest_region(cam, SCALE, geometry)
    assert region is not None
    overlay = heatmap_rgba(cam, SCALE, 0.6, geometry, rows=grey.height, columns=grey.width)
    return Picture(grey, overlay, [Outline(label, region.mask) for label in LABELS[:4]], True)


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def milliseconds(work: Callable[[], object], rounds: int) -> float:
    """The median CPU time of this process."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return 1000 * statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--columns", type=int, default=2500)
    given = parser.parse_args()
    small = generate(1, 512)
    large = np.asarray(Image.fromarray(small.pixels).resize((given.columns, given.rows), Image.Resampling.NEAREST))
    cam = np.random.default_rng(2).normal(1.0, 1.0, (7, 7)).astype(np.float16)
    said = content()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.dcm"
        write_dicom(replace(small, pixels=large), path)
        drawn = picture(path, cam)
        capture = encode(build_secondary_capture(said, IDENTITY, drawn))
        report = encode(build_structured_report(said, IDENTITY))
        steps = {
            "picture": lambda: picture(path, cam),
            "secondary capture": lambda: encode(build_secondary_capture(said, IDENTITY, drawn)),
            "structured report": lambda: encode(build_structured_report(said, IDENTITY)),
            "check": lambda: (check_object(capture, "secondary-capture"), check_object(report, "structured-report")),
        }
        taken = {name: milliseconds(step, given.rounds) for name, step in steps.items()}
    for name, value in taken.items():
        print(f"{name:<18} {value:7.1f} ms CPU")
    print(f"{'a study':<18} {sum(taken.values()):7.1f} ms CPU; {len(capture)} and {len(report)} bytes")


if __name__ == "__main__":
    main()
