"""The actor of a management command."""

import getpass


def actor() -> str:
    """The operating system's account, in the form that the activation ledger and the audit trail store."""
    return f"cli:{getpass.getuser()}"
