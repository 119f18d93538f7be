"""What a person chooses for themselves: the language of the pages."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods

from apps.accounts.services import choose_language
from apps.core.catalogues import LANGUAGES
from apps.portal.access import MemberRequest, members_only
from apps.reading.selectors import reading_policy


class LanguageForm(forms.Form):
    language = forms.ChoiceField(
        label=gettext_lazy("Language"),
        required=False,
        choices=[("", gettext_lazy("As in my hospital")), *LANGUAGES],
        help_text=gettext_lazy("Of the pages that you see. Reports are in the hospital's language."),
    )


@require_http_methods(["GET", "POST"])
@members_only
def my_settings(request: MemberRequest) -> HttpResponse:
    posted: Any = request.POST if request.method == "POST" else None
    form = LanguageForm(posted, initial={"language": request.user.language})
    if request.method == "POST" and form.is_valid():
        chosen = form.cleaned_data["language"]
        choose_language(user=request.user, language=chosen)
        with translation.override(chosen or reading_policy().language):
            messages.success(request, _("Saved."))
        return redirect("portal:my-settings")
    return render(request, "portal/my_settings.html", {"form": form})
