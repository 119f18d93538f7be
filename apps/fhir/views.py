"""The views of FHIR R4: read, search, the PDF of a report, and the capability statement."""

import base64
from typing import Any, Final

from django.http import HttpResponse, QueryDict
from rest_framework.parsers import FormParser
from rest_framework.request import Request
from rest_framework.response import Response

from apps.audit.models import AuditEvent
from apps.audit.services import actor_of, record
from apps.core.errors import NotFoundError
from apps.fhir.base import FhirView
from apps.fhir.bundles import searchset
from apps.fhir.capability import capability_statement
from apps.fhir.kinds import KINDS
from apps.fhir.queries import SEALED, page_of, read_query, seal, unsealed
from apps.fhir.resources.diagnostic_report import PRELIMINARY_NUMBER
from apps.fhir.selectors import get_study
from apps.reports.responses import report_response
from apps.reports.selectors import report_of
from apps.tenants.scope import current_tenant_id

MOST_COUNTED: Final = 10_000
"""A larger number of matches is not counted: a page would wait for it."""
_PDF: Final = "application/pdf"


class KindView(FhirView):
    """A view of one kind of resource; ``kind`` is an argument of ``as_view``."""

    kind = "ImagingStudy"

    @property
    def dicomweb(self) -> str:
        return self.request.build_absolute_uri("/dicom-web")


class ReadView(KindView):
    def get(self, request: Request, resource_id: str) -> Response:
        kind = KINDS[self.kind]
        row = kind.find(resource_id)
        if kind.study is not None:
            record(
                action=kind.action,
                by=actor_of(request._request),
                object_id=kind.study(row),
                operation=f"fhir:{self.kind}",
            )
        (resource,) = kind.build([row], self.dicomweb)
        return Response(resource)


class SearchView(KindView):
    def get(self, request: Request) -> Response:
        given = request.query_params
        return self.search(unsealed(given, self._context), is_sealed=SEALED in given)

    @property
    def _context(self) -> str:
        return f"fhir-search:{current_tenant_id()}:{self.kind}"

    def search(self, given: QueryDict, *, is_sealed: bool) -> Response:
        """Answer a search; the addresses of its further pages do not show what was searched for where it is sealed."""
        kind = KINDS[self.kind]
        is_strict = "handling=strict" in self.request.headers.get("Prefer", "").replace(" ", "")
        query = read_query(self.kind, given, is_strict=is_strict)
        rows = kind.rows().filter(query.condition)
        page, has_more = page_of(rows, query, kind.order) if query.count else ([], False)
        total = _count(rows, without_limit=not query.count) if query.is_counted else None
        record(
            action=AuditEvent.Action.STUDIES_SEARCHED,
            by=actor_of(self.request._request),
            amount=len(page),
            operation=f"fhir:{self.kind}",
        )
        following: list[tuple[str, str]] = []
        if has_more:
            following = [(SEALED, seal(query, self._context))] if is_sealed else [*query.used]
            following.append(("cursor", ".".join(str(each) for each in kind.place(page[-1]))))
        resources = kind.build(page, self.dicomweb)
        return Response(searchset(resources, query, base=self.base, kind=self.kind, total=total, following=following))


def _count(rows: Any, *, without_limit: bool) -> int | None:
    """The number of matches; None where there are more than are counted, unless the number alone is asked for."""
    if without_limit:
        return rows.count()
    number = rows.order_by()[: MOST_COUNTED + 1].count()
    return number if number <= MOST_COUNTED else None


class PostedSearchView(SearchView):
    """A search whose parameters are a form, so that no address holds an identifier of a patient."""

    parser_classes: Any = (FormParser,)
    http_method_names: Any = ("post",)

    def post(self, request: Request) -> Response:
        given = request.query_params.copy()
        given.update(request.data)
        return self.search(given, is_sealed=True)


class BinaryView(FhirView):
    """The PDF of a report, as such or as a Binary (R4, 2.40.0.1)."""

    def accepts(self, request: Request) -> bool:
        return super().accepts(request) or _PDF in request.headers.get("Accept", "")

    def get(self, request: Request, resource_id: str) -> Response | HttpResponse:
        study_id, _, number = resource_id.partition(".")
        if not (number.isascii() and number.isdigit() and len(number) < 5):
            raise NotFoundError("There is no Binary with this id.", "not-found")
        study = get_study(study_id, "Binary")
        is_preliminary = int(number) == PRELIMINARY_NUMBER
        if is_preliminary and report_of(study) is not None:
            raise NotFoundError("The report was signed: read its DiagnosticReport again.", "not-found")
        document = report_response(
            request._request, study, "report.pdf", number=None if is_preliminary else int(number), inline=True
        )
        if _wants_pdf(request):
            return document
        data = base64.b64encode(document.content).decode()
        return Response({"resourceType": "Binary", "id": resource_id, "contentType": _PDF, "data": data})


def _wants_pdf(request: Request) -> bool:
    accepted = request.headers.get("Accept", "*/*")
    return not request.query_params.get("_format") and (_PDF in accepted or "json" not in accepted)


class CapabilityView(FhirView):
    """The capability statement, for anybody: it names no tenant."""

    permission_classes: Any = ()
    authentication_classes: Any = ()

    def get(self, request: Request) -> Response:
        return Response(capability_statement(self.base))


class AbsentView(FhirView):
    """Answers 404 for every other address."""

    permission_classes: Any = ()
    http_method_names: Any = ("get", "head", "post", "put", "patch", "delete")

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise NotFoundError("This FHIR address is not offered: GET /fhir/metadata names those that are.")
