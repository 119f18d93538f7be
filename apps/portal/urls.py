"""The pages of the clinician portal, included at the root."""

from django.urls import path

from apps.portal.views import entrance, images, points, quick_check, report, study, trial, upload, worklist

app_name = "portal"
urlpatterns = [
    path("", worklist.worklist, name="worklist"),
    path("search/", worklist.search, name="search"),
    path("sign-in/", entrance.sign_in, name="sign-in"),
    path("sign-out/", entrance.sign_out, name="sign-out"),
    path("hospital/", entrance.hospital, name="hospital"),
    path("upload/", upload.upload, name="upload"),
    path("quick-check/", quick_check.quick_check, name="quick-check"),
    path("trial/", trial.trial, name="trial"),
    path("trial/disagreement.csv", trial.export, name="trial-csv"),
    path("operating-points/", points.points, name="points"),
    path("operating-points/<str:label>/", points.point, name="point"),
    path("studies/<uuid:pk>/", study.study, name="study"),
    path("studies/<uuid:pk>/state/", study.state, name="state"),
    path("studies/<uuid:pk>/film.png", images.film, name="film"),
    path("studies/<uuid:pk>/heatmaps/<str:label>.png", images.heatmap, name="heatmap"),
    path("studies/<uuid:pk>/review/", report.review, name="review"),
    path("studies/<uuid:pk>/sign/", report.sign, name="sign"),
    path("studies/<uuid:pk>/report.pdf", report.pdf, name="report-pdf"),
]
