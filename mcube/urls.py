"""The web's addresses: health for machines, the admin for people."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from brokers.admin import broker_login
from mcube import health

urlpatterns = [
    path("live", health.live, name="live"),
    path("ready", health.ready, name="ready"),
    path("admin/", admin.site.urls),
    path("credentials/<slug:broker>/callback", broker_login.callback, name="login_callback"),
    path("", RedirectView.as_view(pattern_name="admin:index")),
]
