"""The pages of the clinician portal, included at the root."""

from django.urls import path

from apps.portal.views import (
    entrance,
    images,
    invitation,
    keys,
    peers,
    people,
    points,
    quick_check,
    report,
    study,
    trial,
    upload,
    worklist,
)

app_name = "portal"
urlpatterns = [
    path("", worklist.worklist, name="worklist"),
    path("search/", worklist.search, name="search"),
    path("sign-in/", entrance.sign_in, name="sign-in"),
    path("sign-out/", entrance.sign_out, name="sign-out"),
    path("hospital/", entrance.hospital, name="hospital"),
    path("invitation/<str:token>/", invitation.invitation, name="invitation"),
    path("operator-invitation/<str:uidb64>/<str:token>/", invitation.operator_invitation, name="operator-invitation"),
    path("settings/", people.settings_home, name="settings"),
    path("settings/people/", people.people, name="people"),
    path("settings/people/<uuid:member_id>/", people.person, name="person"),
    path("settings/people/<uuid:member_id>/remove/", people.remove, name="remove-member"),
    path("settings/people/<uuid:member_id>/password/", people.password_link, name="password-link"),
    path("settings/invitations/<uuid:invitation_id>/withdraw/", people.withdraw, name="withdraw-invitation"),
    path("settings/keys/", keys.key_list, name="keys"),
    path("settings/keys/<uuid:key_id>/revoke/", keys.revoke, name="revoke-key"),
    path("settings/peers/", peers.peer_list, name="peers"),
    path("settings/peers/<uuid:peer_id>/", peers.peer, name="peer"),
    path("settings/peers/<uuid:peer_id>/remove/", peers.remove, name="remove-peer"),
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
