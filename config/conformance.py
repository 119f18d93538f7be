"""Writes the tables of ``docs/conformance.md`` from those of the code: ``python -m config.conformance``.

The page's own text stands around them. ``tests/config/test_conformance.py`` fails while the page is not current.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from django import setup

setup()

from django.conf import settings  # noqa: E402
from django.utils.translation import override  # noqa: E402
from pydicom.datadict import tag_for_keyword  # noqa: E402
from pydicom.uid import UID  # noqa: E402

from apps.core.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME  # noqa: E402
from apps.core.version import VERSION  # noqa: E402
from apps.dicomweb.capabilities import RESOURCES  # noqa: E402
from apps.dicomweb.failure_reasons import failure_table  # noqa: E402
from apps.dicomweb.responses import COERCION_OF_DATA_ELEMENTS, DATA_SET_DOES_NOT_MATCH_SOP_CLASS  # noqa: E402
from apps.dicomweb.search_views import MOST_RESULTS  # noqa: E402
from apps.dimse import commitment, connection, contexts, requests, store  # noqa: E402
from apps.dimse.query_retrieve import find, retrieve, sub_operations  # noqa: E402
from apps.dimse.query_retrieve.identifiers import UNIQUE_KEYS, QueryLevel  # noqa: E402
from apps.events.commitments import FAILURE_REASONS  # noqa: E402
from apps.registry import engine  # noqa: E402
from apps.results import committing  # noqa: E402
from apps.results.clients import association, store_scu  # noqa: E402
from apps.results.clients.commitment_scu import STORAGE_COMMITMENT  # noqa: E402
from apps.results.objects import codes  # noqa: E402
from apps.results.objects.check import REQUIRED  # noqa: E402
from apps.results.objects.content import PRODUCT  # noqa: E402
from apps.studies.query.attributes import ATTRIBUTES, Level, can_match  # noqa: E402

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "conformance.md"
_LEVELS: Final = {Level.STUDY: QueryLevel.STUDY, Level.SERIES: QueryLevel.SERIES, Level.INSTANCE: QueryLevel.IMAGE}


def _table(head: str, rows: Iterable[Iterable[object]]) -> str:
    columns = [each.strip() for each in head.split("|")]
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(each) for each in line) + " |" for line in lines)


def _status(value: int) -> str:
    return f"`{value:04X}`"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def product() -> str:
    return _table(
        "item | value",
        (
            ("Product", PRODUCT),
            ("Version", VERSION),
            ("Implementation Class UID", f"`{IMPLEMENTATION_CLASS_UID}`"),
            ("Implementation Version Name", f"`{IMPLEMENTATION_VERSION_NAME}`"),
        ),
    )


def services() -> str:
    """The SOP classes that are no storage classes, as the listener accepts them."""
    storage = {*contexts.STORAGE_CLASSES, *contexts.DOCUMENT_CLASSES}
    accepted = [UID(each.abstract_syntax or "") for each in contexts.supported_contexts()]
    as_scu = {contexts.VERIFICATION, STORAGE_COMMITMENT}
    rows = [
        (each.name, f"`{each}`", "yes" if each in as_scu else "", "yes") for each in accepted if each not in storage
    ]
    return _table("SOP class | UID | SCU | SCP", rows)


def storage() -> str:
    """The storage classes, which are accepted from peers and sent to them."""
    rows = [(each.name, f"`{each}`", "images") for each in contexts.STORAGE_CLASSES]
    rows += [(each.name, f"`{each}`", "documents") for each in contexts.DOCUMENT_CLASSES]
    return _table("SOP class | UID | transfer syntaxes", rows)


def transfer_syntaxes() -> str:
    documents, plain = contexts.NATIVE_TRANSFER_SYNTAXES, contexts.PLAIN_TRANSFER_SYNTAXES
    rows = [
        (each.name, f"`{each}`", "yes", "yes" if each in documents else "", "yes" if each in plain else "")
        for each in contexts.TRANSFER_SYNTAXES
    ]
    return _table("transfer syntax | UID | images | documents | other services", rows)


def association_limits() -> str:
    """What holds of an association: as the acceptor, and as the one who opens it."""
    slowest = connection.SLOWEST_BYTES_PER_SECOND // 1024
    return _table(
        "limit | accepted | opened",
        (
            ("Largest PDU", f"{connection.MAX_PDU_BYTES:,} bytes", "the peer's"),
            ("From the connection to the end of A-ASSOCIATE", f"{connection.REQUEST_SECONDS} s",
             f"{association.CONNECT_SECONDS} + {association.ASSOCIATE_SECONDS} s"),
            ("Between two messages", f"{connection.IDLE_SECONDS} s", ""),
            ("Slowest message", f"{slowest} KiB a second after {connection.GRACE_SECONDS} s",
             f"no progress for {association.STALLED_SECONDS} s"),
            ("Wait for a response", "", f"{association.RESPONSE_SECONDS} s"),
            ("Associations at the same time, in all", f"{settings.DIMSE_ASSOCIATIONS} (`DIMSE_ASSOCIATIONS`)", ""),
            ("of one hospital", f"{settings.DIMSE_ASSOCIATIONS_PER_TENANT} (`DIMSE_ASSOCIATIONS_PER_TENANT`)", ""),
            ("of one peer", f"{settings.DIMSE_ASSOCIATIONS_PER_PEER} (`DIMSE_ASSOCIATIONS_PER_PEER`)", ""),
            ("Outstanding operations", "1", "1"),
        ),
    )  # fmt: skip


def find_keys() -> str:
    rows: list[tuple[object, ...]] = []
    for attribute in ATTRIBUTES.values():
        levels = [name for level, name in _LEVELS.items() if can_match(attribute, level)]
        levels = [QueryLevel.PATIENT, *levels] if attribute.keyword in find.OF_A_PATIENT else levels
        unique = [level for level, keyword in UNIQUE_KEYS.items() if keyword == attribute.keyword]
        kind = "unique" if unique else "optional"
        tag = f"{attribute.tag[:4]},{attribute.tag[4:]}"
        rows.append((attribute.keyword, tag, attribute.vr, kind, attribute.match, ", ".join(levels)))
    return _table("key | tag | VR | kind | matched by | at levels", rows)


_COMMON: Final[Mapping[int, str]] = {
    requests.SUCCESS: "Success",
    requests.NOT_AUTHORISED: "Not authorised: the application is not listed any more, or may only send",
    requests.PROCESSING_FAILURE: "Processing failure: an error of ours, which the operator's log names",
    requests.IDENTIFIER_MISMATCH: "Identifier does not match the SOP class: the comment names the key",
    requests.CANCELLED: "Cancelled",
    requests.PENDING: "Pending",
}


def store_statuses() -> str:
    """Each status of a C-STORE response that the store and the checks of an object give."""
    meanings = {reason: _sentence(meaning) for reason, meaning, _ in failure_table()}
    meanings |= {
        requests.SUCCESS: "Success",
        store.COERCION_OF_DATA_ELEMENTS: "Warning: stored; the patient contradicts what is stored already",
        requests.OUT_OF_RESOURCES: "Out of resources, or the object is too large: send it again later",
        requests.NOT_AUTHORISED: "Not authorised: the application is not listed any more, or a rule refuses the object",
    }
    given = {engine.failure_reason(code) for code in engine.INPUT_ERRORS}
    given |= {
        requests.SUCCESS, requests.OUT_OF_RESOURCES, requests.NOT_AUTHORISED, requests.PROCESSING_FAILURE,
        store.COERCION_OF_DATA_ELEMENTS, store.DUPLICATE_SOP_INSTANCE, store.CANNOT_UNDERSTAND,
    }  # fmt: skip
    return _table("status | meaning", [(_status(each), meanings[each]) for each in sorted(given)])


def find_statuses() -> str:
    limit = f"Out of resources: more than {find.MOST_MATCHES:,} match, or the database did not answer"
    rows = {
        **_COMMON,
        requests.OUT_OF_RESOURCES: limit,
        requests.PENDING_WITH_WARNING: "Pending; a key of the request is not supported",
    }
    return _table("status | meaning", [(_status(each), meaning) for each, meaning in sorted(rows.items())])


def retrieve_statuses() -> str:
    rows = {
        **_COMMON,
        requests.OUT_OF_RESOURCES: "Out of resources: the database did not answer",
        retrieve.TOO_MANY_MATCHES: f"Out of resources: more than {retrieve.MOST_INSTANCES:,} instances match",
        requests.DESTINATION_UNKNOWN: "C-MOVE: the destination is not listed, or has no host",
        sub_operations.ALL_FAILED: "No sub-operation was successful",
        sub_operations.WITH_FAILURES: "Sub-operations complete, with failures or warnings",
    }
    return _table("status | meaning", [(_status(each), meaning) for each, meaning in sorted(rows.items())])


def commitment_statuses() -> str:
    rows = {
        requests.SUCCESS: "Success: the report follows",
        requests.PROCESSING_FAILURE: "The application has no host in the hospital's list, there are more than "
        f"{commitment.MOST_REFERENCES:,} references, or an error of ours",
        committing.NO_SUCH_INSTANCE: "Another SOP instance than the well-known one",
        committing.INVALID_ARGUMENT: "Transaction UID or references are missing or no UIDs",
        commitment.NO_SUCH_ACTION: "Another action than 1",
        requests.NOT_AUTHORISED: "Not authorised: the application is not listed any more",
    }
    return _table("status | meaning", [(_status(each), meaning) for each, meaning in sorted(rows.items())])


def commitment_reasons() -> str:
    """The failure reasons of a report."""
    return _table(
        "reason | meaning",
        (
            (_status(requests.PROCESSING_FAILURE), "The stored object is lost or damaged: send it again"),
            (_status(committing.NO_SUCH_INSTANCE), "No such object is stored"),
            (_status(commitment.CLASS_CONFLICT), "It is stored with another SOP class"),
        ),
    )


def report_statuses() -> str:
    """Statuses of our response to the report of a peer that we asked."""
    rows = {
        committing.SUCCESS: "Success: the report is recorded, or was before",
        committing.PROCESSING_FAILURE: "An error of ours: report again",
        committing.NO_SUCH_INSTANCE: "Another SOP instance than the well-known one",
        committing.NO_SUCH_EVENT_TYPE: "Another event type than 1 and 2",
        committing.INVALID_ARGUMENT: "It cannot be read, or this peer was not asked with this Transaction UID",
        requests.NOT_AUTHORISED: "Not authorised: the application is not listed any more",
    }
    return _table("status | meaning", [(_status(each), meaning) for each, meaning in sorted(rows.items())])


def report_reasons() -> str:
    """The failure reasons of a report that have a text of their own."""
    with override("en"):
        rows = [(_status(each), _sentence(str(meaning))) for each, meaning in sorted(FAILURE_REASONS.items())]
    return _table("reason | meaning", rows)


def scu_statuses() -> str:
    """Statuses that we give to an instance that no peer answered for."""
    return _table(
        "status | meaning",
        (
            (_status(store_scu.PROCESSING_FAILURE), "The object could not be read or converted"),
            (_status(store_scu.SOP_CLASS_NOT_SUPPORTED), "The peer accepted no presentation context for it"),
            (_status(store_scu.NO_RESPONSE), "The association ended before a response"),
        ),
    )


def web_resources() -> str:
    rows = [
        (f"`{path}`", method, transaction, "<br>".join(f"`{each}`" for each in media_types))
        for path, method, transaction, media_types in RESOURCES
    ]
    return _table("address below `/dicom-web/` | method | transaction | media types", rows)


def web_keys() -> str:
    rows = [
        (attribute.keyword, "yes" if can_match(attribute, Level.STUDY) else "",
         "yes" if can_match(attribute, Level.SERIES) else "", "yes" if can_match(attribute, Level.INSTANCE) else "",
         "always" if attribute.is_default else "where asked for")
        for attribute in ATTRIBUTES.values()
    ]  # fmt: skip
    table = _table("attribute | studies | series | instances | returned", rows)
    return f"{table}\n\nAt most {MOST_RESULTS:,} results in one answer."


def web_reasons() -> str:
    rows = [(_status(reason), _sentence(meaning)) for reason, meaning, _ in failure_table()]
    rows.append((_status(COERCION_OF_DATA_ELEMENTS), "Warning: the patient contradicts the stored study"))
    rows.append((_status(DATA_SET_DOES_NOT_MATCH_SOP_CLASS), "Warning: the object is odd, and is stored as it is"))
    return _table("reason | meaning", rows)


def created_objects() -> str:
    rows = [(UID(uid).name, f"`{uid}`", kind.replace("-", " ")) for kind, (uid, _) in REQUIRED.items()]
    return _table("SOP class | UID | result", rows)


def created_attributes() -> str:
    kinds = list(REQUIRED)
    names = list(dict.fromkeys(name for _, attributes in REQUIRED.values() for name in attributes))
    rows = [(name, _tag(name), *(REQUIRED[kind][1].get(name, "") for kind in kinds)) for name in names]
    return _table("attribute | tag | " + " | ".join(kind.replace("-", " ") for kind in kinds), rows)


def _tag(keyword: str) -> str:
    tag = tag_for_keyword(keyword) or 0
    return f"{tag >> 16:04X},{tag & 0xFFFF:04X}"


def finding_codes() -> str:
    rows = [(each.meaning, each.value, each.scheme_designator) for each in codes.FINDINGS.values()]
    return _table("finding | code | scheme", rows)


BLOCKS: Final[Mapping[str, Callable[[], str]]] = {
    each.__name__.replace("_", "-"): each
    for each in (
        product, services, storage, transfer_syntaxes, association_limits, find_keys, store_statuses, find_statuses,
        retrieve_statuses, commitment_statuses, commitment_reasons, scu_statuses, report_statuses, report_reasons,
        web_resources, web_keys, web_reasons, created_objects, created_attributes,
        finding_codes,
    )
}  # fmt: skip


def current(text: str) -> str:
    """The page's text with each table as the code has it now.

    Raises:
        KeyError: a table that the page names does not exist.
    """

    def replaced(found: re.Match[str]) -> str:
        name = found[1]
        return f"<!-- {name}: begin -->\n{BLOCKS[name]()}\n<!-- {name}: end -->"

    return re.sub(r"<!-- ([a-z-]+): begin -->\n.*?<!-- \1: end -->", replaced, text, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(current(PAGE.read_text()))
