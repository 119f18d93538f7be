"""People's accounts. What they may do in a hospital is their membership, under Tenants."""

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.contrib.auth.forms import UserChangeForm as DjangoUserChangeForm
from django.contrib.auth.models import Group

from apps.accounts.models import User
from apps.tenants.console import OperatorAdmin

admin.site.unregister(Group)


class _LowerCaseEmail(forms.ModelForm):
    def clean_email(self) -> str:
        return str(self.cleaned_data["email"]).lower()


class UserCreationForm(_LowerCaseEmail, AdminUserCreationForm):
    class Meta:
        model = User
        fields = ("email", "full_name")


class UserChangeForm(_LowerCaseEmail, DjangoUserChangeForm):
    class Meta:
        model = User
        fields = ("email", "full_name", "is_active", "is_staff")


@admin.register(User)
class UserAdmin(OperatorAdmin, DjangoUserAdmin):
    is_writable = True
    form = UserChangeForm
    add_form = UserCreationForm
    list_display = ("email", "full_name", "is_active", "is_staff", "last_login")
    list_filter = ("is_active", "is_staff")
    search_fields = ("email", "full_name")
    ordering = ("email",)
    filter_horizontal = ()
    fieldsets = (
        (None, {"fields": ("email", "full_name", "password")}),
        ("Access", {"fields": ("is_active", "is_staff")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = ((None, {"fields": ("email", "full_name", "usable_password", "password1", "password2")}),)
    readonly_fields = ("last_login", "date_joined")
