"""The addresses of DICOMweb (PS3.18 10.1.1). Each view opens its own transaction."""

from typing import Any

from django.urls import path, re_path

from apps.dicomweb.rendered_views import RenderedView, ThumbnailView
from apps.dicomweb.retrieve_views import BulkdataView, FramesView, MetadataView, RetrieveView
from apps.dicomweb.search_views import SearchView
from apps.dicomweb.views import AbsentView, CapabilitiesView, StudiesView, StudyView
from apps.studies.query.attributes import Level
from apps.tenants.middleware import opens_own_transaction

app_name = "dicomweb"

_STUDY = "studies/<str:study>"
_SERIES = f"{_STUDY}/series/<str:series>"
_INSTANCE = f"{_SERIES}/instances/<str:instance>"
_FRAMES = f"{_INSTANCE}/frames/<str:frames>"


def _view(kind: Any, **attributes: Any) -> Any:
    return opens_own_transaction(kind.as_view(**attributes))


_metadata, _rendered, _thumbnail = _view(MetadataView), _view(RenderedView), _view(ThumbnailView)

urlpatterns = [
    path("", _view(CapabilitiesView), name="capabilities"),
    path("studies", _view(StudiesView), name="studies"),
    path("series", _view(SearchView, level=Level.SERIES), name="search-series"),
    path("instances", _view(SearchView, level=Level.INSTANCE), name="search-instances"),
    path(_STUDY, _view(StudyView), name="study"),
    path(f"{_STUDY}/series", _view(SearchView, level=Level.SERIES), name="series-of-study"),
    path(f"{_STUDY}/instances", _view(SearchView, level=Level.INSTANCE), name="instances-of-study"),
    path(f"{_STUDY}/metadata", _metadata, name="study-metadata"),
    path(f"{_STUDY}/rendered", _rendered, name="study-rendered"),
    path(f"{_STUDY}/thumbnail", _thumbnail, name="study-thumbnail"),
    path(_SERIES, _view(RetrieveView), name="series"),
    path(f"{_SERIES}/instances", _view(SearchView, level=Level.INSTANCE), name="instances-of-series"),
    path(f"{_SERIES}/metadata", _metadata, name="series-metadata"),
    path(f"{_SERIES}/rendered", _rendered, name="series-rendered"),
    path(f"{_SERIES}/thumbnail", _thumbnail, name="series-thumbnail"),
    path(_INSTANCE, _view(RetrieveView), name="instance"),
    path(f"{_INSTANCE}/metadata", _metadata, name="instance-metadata"),
    path(f"{_INSTANCE}/rendered", _rendered, name="instance-rendered"),
    path(f"{_INSTANCE}/thumbnail", _thumbnail, name="instance-thumbnail"),
    path(f"{_INSTANCE}/bulkdata/<path:path>", _view(BulkdataView), name="bulkdata"),
    path(_FRAMES, _view(FramesView), name="frames"),
    path(f"{_FRAMES}/rendered", _rendered, name="frames-rendered"),
    path(f"{_FRAMES}/thumbnail", _thumbnail, name="frames-thumbnail"),
    re_path(r"", AbsentView.as_view(), name="absent"),
]
