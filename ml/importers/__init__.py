"""Import models from other projects into our artifact format, without executing anything in their files."""

from dataclasses import dataclass
from pathlib import Path

from ml.importers.errors import ImportRefused
from ml.importers.options import FORMATS, Options
from ml.model.manifest import Manifest, read_manifest

__all__ = ["FORMATS", "ImportRefused", "Imported", "Options", "import_file"]


@dataclass(frozen=True)
class Imported:
    """An artifact made from a file. `mapped` counts tensors; `dropped` lists what was left out, with the reason."""

    manifest: Manifest
    mapped: int
    dropped: tuple[str, ...]
    notes: tuple[str, ...]


def import_file(source: Path, options: Options, directory: Path) -> Imported:
    """Write the artifact of a model file into the existing folder `directory`.

    Raises:
        ImportRefused: the file is not a model that can be imported.
        ArtifactInvalid: a bundle is damaged.
        InputRejected: a calibration image can't be read.
    """
    if options.format == "bundle":
        from ml.importers.bundle import require_golden, unpack

        unpack(source, directory)
        require_golden(directory)
        return Imported(read_manifest(directory), 0, (), ("The bundle is taken as it is, card and figures included.",))
    # Torch is imported only where a network is rebuilt.
    from ml.importers.assemble import assemble
    from ml.importers.formats import convert
    from ml.importers.source import read_source

    read = read_source(source)
    converted = convert(read, options)
    manifest, how = assemble(converted, options, source, directory)
    dropped = tuple(f"{name}: {reason}" for name, reason in converted.dropped.items())
    ignored = tuple(f"{name}: no part of the network" for name in read.facts.get("ignored", ()))
    return Imported(manifest, len(converted.tensors), dropped + ignored, converted.notes + how)
