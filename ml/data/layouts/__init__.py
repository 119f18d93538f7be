"""The layouts of data sets, one module each. A new one is a module with a `Layout`, and an entry in LAYOUTS."""

from ml.data.layouts.base import Dataset, Layout
from ml.data.layouts.chexpert import CHEXPERT
from ml.data.layouts.mimic import MIMIC
from ml.data.layouts.nih import NIH
from ml.data.layouts.own import OWN
from ml.data.layouts.padchest import PADCHEST
from ml.data.layouts.rsna import RSNA
from ml.data.layouts.vindr import VINDR

LAYOUTS = (NIH, OWN, CHEXPERT, MIMIC, PADCHEST, VINDR, RSNA)
"""In the order in which they are looked for: the first whose table is there decides."""

__all__ = ["LAYOUTS", "Dataset", "Layout"]
