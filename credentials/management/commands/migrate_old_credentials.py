"""``manage.py migrate_old_credentials``: the old name of ``import_credentials``, with the same flags."""

from credentials.management.commands.import_credentials import Command as Command
