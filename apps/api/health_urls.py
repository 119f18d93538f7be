"""The root URLs that orchestrators and Prometheus use."""

from django.urls import path

from apps.api import health_views

urlpatterns = [
    path("healthz", health_views.healthz, name="healthz"),
    path("readyz", health_views.readyz, name="readyz"),
    path("metrics", health_views.metrics, name="metrics"),
]
