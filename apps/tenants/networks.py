"""Private networks in which a tenant's destinations and DICOM peers may be; the operator lists them in the console."""

import ipaddress

from django.core.exceptions import ValidationError


def clean_networks(text: str) -> str:
    """Networks as text, separated by commas, each in CIDR notation.

    Raises:
        ValidationError: one is no network.
    """
    try:
        networks = [ipaddress.ip_network(each.strip(), strict=False) for each in text.split(",") if each.strip()]
    except ValueError as error:
        raise ValidationError({"private_networks": f"{error}. Write networks such as 10.1.0.0/16."}) from error
    return ", ".join(str(each) for each in networks)


def split_networks(text: str) -> list[str]:
    """The networks in a text of `clean_networks`."""
    return [each.strip() for each in text.split(",") if each.strip()]
