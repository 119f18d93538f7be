"""Static files for browsers: names with a hash, and a copy compressed with gzip."""

from typing import Any

from whitenoise.compress import Compressor
from whitenoise.storage import CompressedManifestStaticFilesStorage


class StaticFilesStorage(CompressedManifestStaticFilesStorage):
    """WhiteNoise's storage without Brotli.

    WhiteNoise uses Brotli's slowest level whenever the module is installed, as it is for WeasyPrint. With the viewer's
    bundle that takes 100 CPU-seconds at each start of the demo, gzip 2, for files that are a quarter smaller.
    """

    def create_compressor(self, **options: Any) -> Compressor:
        return Compressor(**options, use_brotli=False)
