"""The groups to begin with, and what each may do. They are rows; whoever manages users changes them."""

from __future__ import annotations

from django.contrib.auth.models import Permission
from django.db.models import Q, QuerySet

#: Applications of which a viewer sees everything; users, logins and second factors are the administrator's.
WATCHED = ("brokers", "credentials", "django_celery_beat")
#: What each does besides viewing: permissions by name, ``app.*`` for all of an application.
GROUPS: dict[str, tuple[str, ...]] = {
    "viewer": (),
    "trader": (
        "credentials.use_credentialstore",
        "brokers.steer_plan",
        "brokers.decide_order",
        "brokers.halt_trading",
        "brokers.acknowledge_alert",
    ),
    "risk officer": (
        "brokers.approve_order",
        "brokers.halt_trading",
        "brokers.resume_trading",
        "brokers.acknowledge_alert",
        "brokers.change_brokeraccount",
        "brokers.add_risklimit",
        "brokers.change_risklimit",
    ),
    "administrator": (
        "auth.*",
        "axes.*",
        "mcube.*",
        "credentials.*",
        "django_celery_beat.*",
        "brokers.add_brokeraccount",
        "brokers.change_brokeraccount",
        "brokers.add_alertchannel",
        "brokers.change_alertchannel",
        "brokers.delete_alertchannel",
        "brokers.add_holidaylist",
        "brokers.change_holidaylist",
        "brokers.delete_holidaylist",
        "brokers.add_specialday",
        "brokers.change_specialday",
        "brokers.delete_specialday",
        "brokers.add_sessionrule",
        "brokers.change_sessionrule",
        "brokers.delete_sessionrule",
        "brokers.add_snapshotcadence",
        "brokers.change_snapshotcadence",
        "brokers.delete_snapshotcadence",
    ),
}


def permissions_of(group: str) -> QuerySet[Permission]:
    """What a group may do, viewing included."""
    wanted = Q(codename__startswith="view_", content_type__app_label__in=WATCHED)
    for name in GROUPS[group]:
        app, _, codename = name.partition(".")
        wanted |= Q(content_type__app_label=app) & (Q() if codename == "*" else Q(codename=codename))
    return Permission.objects.filter(wanted)
