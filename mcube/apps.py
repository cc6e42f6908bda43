from django.apps import AppConfig


class McubeConfig(AppConfig):
    name = "mcube"
    verbose_name = "mcube"

    def ready(self) -> None:
        from mcube import checks  # noqa: F401 -- registers them
