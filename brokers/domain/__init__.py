"""The words of trading as plain Python: frozen, keyword-only values, enums and errors.

Nothing here knows Django, Celery, an SDK or a broker.
"""
