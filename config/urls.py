"""Where each room is found."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("dicom-web/", include("apps.dicomweb.urls")),
    path("api/v1/", include("apps.api.urls")),
    path("", include("apps.api.health_urls")),
    path("", include("apps.portal.urls")),
]
handler400 = "apps.api.errors.bad_request"
handler403 = "apps.api.errors.permission_denied"
handler404 = "apps.api.errors.not_found"
handler500 = "apps.api.errors.server_error"
