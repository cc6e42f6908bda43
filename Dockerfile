# One image for every service; docker-compose.yml says which command each one runs.
FROM python:3.12-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    DJANGO_SETTINGS_MODULE=mcube.settings \
    MCUBE_HOME=/data

WORKDIR /app
COPY requirements-run.lock ./
RUN pip install --require-hashes --no-deps --requirement requirements-run.lock
COPY . .
RUN python -m compileall -q manage.py mcube brokers credentials tasks \
    && useradd --uid 10001 --no-create-home mcube \
    && install -d -o mcube -g mcube -m 700 /data
USER mcube
VOLUME /data
# Celery's warm shutdown: what is under way is finished, nothing new is taken.
STOPSIGNAL SIGTERM
