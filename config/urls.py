"""The root URL configuration."""

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import include, path


def absent(request: HttpRequest, unused: str) -> HttpResponse:
    raise Http404


urlpatterns = [
    # Replaces Django's redirect to a row's public page: no row has one, and it fails on a key that is no UUID.
    path("admin/r/<path:unused>", absent),
    path("admin/", admin.site.urls),
    path("dicom-web/", include("apps.dicomweb.urls")),
    path("fhir/", include("apps.fhir.urls")),
    path("api/v1/", include("apps.api.urls")),
    path("", include("apps.api.health_urls")),
    path("", include("apps.portal.urls")),
]
handler400 = "apps.api.error_views.bad_request"
handler403 = "apps.api.error_views.permission_denied"
handler404 = "apps.api.error_views.not_found"
handler500 = "apps.api.error_views.server_error"
