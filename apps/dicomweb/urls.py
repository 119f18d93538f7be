from django.urls import path, re_path

from apps.dicomweb.views import AbsentView, StoreView
from apps.tenants.middleware import opens_own_transaction

app_name = "dicomweb"

store = opens_own_transaction(StoreView.as_view())

urlpatterns = [
    path("studies", store, name="studies"),
    path("studies/<str:study_instance_uid>", store, name="study"),
    re_path(r"", AbsentView.as_view(), name="absent"),
]
