"""How this implementation names itself to DICOM peers and in received files (PS3.7 D.3.3.2, PS3.10 7.1)."""

from typing import Final

from apps.core.version import VERSION

# The UID of this implementation (PS3.5 B.2), and its name. Both are written into every received file, so they never
# change: the same data set must give the same file in every release.
IMPLEMENTATION_CLASS_UID: Final = "2.25.214743061296205313021203430868116834209"
FILE_VERSION_NAME: Final = "CHECXRAY"
# The version name that peers see (PS3.7 D.3.3.2.3): at most 16 characters.
IMPLEMENTATION_VERSION_NAME: Final = f"CHECXRAY_{VERSION}"
