"""The URLs below ``/api/v1/``."""

from django.urls import path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from apps.api import model_views, predict_views, study_views, webhook_views
from apps.tenants.middleware import opens_own_transaction

app_name = "api"
# An address with anything but a UID or a label is unknown and never reaches the database.
_STUDY = r"^studies/(?P<study_instance_uid>[0-9.]{1,64})/"

urlpatterns = [
    path("studies/", study_views.StudyListView.as_view(), name="studies"),
    re_path(_STUDY + r"$", study_views.StudyView.as_view(), name="study"),
    re_path(_STUDY + r"report\.pdf$", study_views.ReportView.as_view(), name="report"),
    re_path(
        _STUDY + r"reports/(?P<number>[1-9][0-9]{0,3})\.pdf$",
        study_views.ReportVersionView.as_view(),
        name="report-version",
    ),
    re_path(_STUDY + r"heatmaps/(?P<label>[A-Za-z_]{1,40})\.png$", study_views.HeatmapView.as_view(), name="heatmap"),
    # No transaction is open while the body is streamed and the network computes.
    path("predict", opens_own_transaction(predict_views.PredictView.as_view()), name="predict"),
    path("models/", model_views.ModelListView.as_view(), name="models"),
    re_path(
        r"^models/(?P<name>[-a-zA-Z0-9_]{1,100})/(?P<number>[0-9]{1,10})/$",
        model_views.ModelView.as_view(),
        name="model",
    ),
    path("webhooks/", webhook_views.WebhookListView.as_view(), name="webhooks"),
    path("webhooks/<uuid:webhook_id>/", webhook_views.WebhookDetailView.as_view(), name="webhook"),
    path("webhooks/<uuid:webhook_id>/test/", webhook_views.WebhookTestView.as_view(), name="webhook-test"),
    path("webhooks/<uuid:webhook_id>/secret/", webhook_views.WebhookSecretView.as_view(), name="webhook-secret"),
    path("webhooks/<uuid:webhook_id>/repeat/", webhook_views.WebhookRepeatView.as_view(), name="webhook-repeat"),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path(
        "docs/",
        # This view serves the script separately, so the content security policy needs no exception.
        SpectacularSwaggerSplitView.as_view(url_name="api:schema", template_name="api/docs.html"),
        name="docs",
    ),
]
