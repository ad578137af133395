"""Providers' pages, with what only the data plane knows of credentials: how each fares, and a test of it."""

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dispatch_app.credentials.connection import check_connection
from dispatch_app.credentials.states import is_held_back, state_of, states_in_words
from policies_app.admin.auditing import author_of
from policies_app.admin.catalogue import CredentialInline, ProviderAdmin
from policies_app.admin.pages import render_page
from policies_app.models import Credential, Provider
from policies_app.services.credentials import mend_credential

TEST_CREDENTIALS = "policies_app.change_credential"
"""Who holds this permission may have credentials tested, which costs a little."""


class ServedCredentialInline(CredentialInline):
    fields = (*CredentialInline.fields, "state")
    readonly_fields = (*CredentialInline.readonly_fields, "state", "test")

    def get_fields(self, request: HttpRequest, obj: Provider | None = None) -> tuple[str, ...]:
        """A test is offered to those who may have one."""
        return (*self.fields, "test") if request.user.has_perm(TEST_CREDENTIALS) else self.fields

    @admin.display(description="State")
    def state(self, credential: Credential) -> str:
        return "" if not credential.pk else state_of(credential, states_in_words(credential.provider_id))

    @admin.display(description="Connection")
    def test(self, credential: Credential) -> SafeString | str:
        if not credential.pk:
            return "after saving"
        address = reverse("admin:policies_app_credential_test", args=(credential.pk,))
        return format_html(
            '<a class="text-primary-600 dark:text-primary-500 whitespace-nowrap" href="{}">Test …</a>',
            address,
        )


admin.site.unregister(Provider)


@admin.register(Provider)
class ServedProviderAdmin(ProviderAdmin):
    inlines = (ServedCredentialInline,)

    def get_urls(self) -> list[URLPattern]:
        test = path(
            "credentials/<int:credential_id>/test/",
            self.admin_site.admin_view(self.test_credential),
            name="policies_app_credential_test",
        )
        return [test, *super().get_urls()]

    def test_credential(self, request: HttpRequest, credential_id: int) -> HttpResponse:
        """Ask first, because it costs something; then call, and say what came of it. One that answers can be taken back at once."""
        if not request.user.has_perm(TEST_CREDENTIALS):
            raise PermissionDenied
        credential = Credential.objects.select_related("provider").filter(pk=credential_id).first()
        if credential is None:
            raise Http404
        if "mend" in request.POST:
            mend_credential(credential=credential, author_name=author_of(request))
            messages.success(request, f"{credential} takes traffic again in all processes.")
            return redirect(reverse("admin:policies_app_provider_change", args=(credential.provider_id,)))
        report = None
        if request.method == "POST":
            report = check_connection(credential=credential, author_name=author_of(request))
        return render_page(
            self,
            request,
            "admin/policies_app/credential/test.html",
            title=f"Test the credential “{credential.label}” of {credential.provider}",
            row=credential.provider,
            credential=credential,
            report=report,
            is_held_back=is_held_back(credential),
        )
