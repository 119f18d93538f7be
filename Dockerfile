# One image for every process of Checxray; compose.yaml says which command each container runs.
FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
COPY requirements.txt /tmp/requirements.txt
RUN /opt/venv/bin/pip install -r /tmp/requirements.txt

# The viewer's bundle: static files, so Node.js stays out of the image.
FROM python:3.11-slim-bookworm AS viewer
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
COPY requirements-build.txt package.json package-lock.json .npmrc ./
RUN pip install -r requirements-build.txt && npm ci --silent
COPY viewer viewer
RUN node node_modules/vite/bin/vite.js build --config viewer/vite.config.js --logLevel error

FROM python:3.11-slim-bookworm
# Pango and fonts draw the reports; the compiler is what torch.compile calls on a GPU.
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core fonts-noto-cjk gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 10001 checxray \
 && useradd --uid 10001 --gid 10001 --home-dir /var/lib/checxray --create-home --shell /usr/sbin/nologin checxray
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_MMAP_THRESHOLD_=67108864 \
    MALLOC_TRIM_THRESHOLD_=134217728 \
    MALLOC_ARENA_MAX=2 \
    OPENBLAS_NUM_THREADS=1 \
    HOME=/tmp \
    CHECXRAY_HOME=/var/lib/checxray
WORKDIR /app
COPY . .
COPY --from=viewer /app/build build
USER checxray
# The folders exist here with their owner, so that the volumes mounted over them get it. No secret is made in the image.
RUN mkdir -p -m 0700 "$CHECXRAY_HOME/spool" "$CHECXRAY_HOME/models" "$CHECXRAY_HOME/evaluation" \
    "$CHECXRAY_HOME/evaluation-sets" "$CHECXRAY_HOME/run" \
 && SECRET_KEY=only-for-collectstatic DATABASE_URL=postgresql://none/none REDIS_URL=redis://none \
    DJANGO_SETTINGS_MODULE=config.settings.embedded python manage.py collectstatic --no-input
ENV DJANGO_SETTINGS_MODULE=config.settings.production
EXPOSE 8000
STOPSIGNAL SIGTERM
CMD ["gunicorn", "-c", "config/gunicorn.conf.py", "config.asgi"]
