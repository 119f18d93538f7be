"""Who acts on the command line."""

import getpass


def actor() -> str:
    """The account on this machine, as the ledger and the audit name it."""
    return f"cli:{getpass.getuser()}"
