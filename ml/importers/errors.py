"""The one way in which a file is refused as a model."""


class ImportRefused(Exception):
    """A file that is not imported; nothing was executed or registered. The message says why and what to do."""
