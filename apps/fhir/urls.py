"""The addresses of FHIR R4 (https://hl7.org/fhir/R4/http.html)."""

from django.urls import path, re_path

from apps.fhir.kinds import KINDS
from apps.fhir.views import AbsentView, BinaryView, CapabilityView, PostedSearchView, ReadView, SearchView

app_name = "fhir"
_ID = r"(?P<resource_id>[A-Za-z0-9.-]{1,64})"

urlpatterns = [
    path("", CapabilityView.as_view(), name="base"),
    path("metadata", CapabilityView.as_view(), name="metadata"),
]
for kind in KINDS:
    urlpatterns += [
        re_path(rf"^{kind}/?\Z", SearchView.as_view(kind=kind), name=f"{kind}-search"),
        path(f"{kind}/_search", PostedSearchView.as_view(kind=kind), name=f"{kind}-posted-search"),
        re_path(rf"^{kind}/{_ID}\Z", ReadView.as_view(kind=kind), name=kind),
    ]
urlpatterns += [
    re_path(rf"^Binary/{_ID}\Z", BinaryView.as_view(), name="Binary"),
    re_path(r"", AbsentView.as_view(), name="absent"),
]
