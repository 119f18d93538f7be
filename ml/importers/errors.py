"""The exception for a file that is not imported as a model."""


class ImportRefused(Exception):
    """A file was not imported; nothing was executed or registered. The message names the reason and what to do."""
