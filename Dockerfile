FROM python:3.12-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/dispatcher
COPY requirements/runtime.txt requirements/build.txt /src/requirements/
RUN /opt/dispatcher/bin/pip install --require-hashes --no-deps -r /src/requirements/runtime.txt \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes --no-deps -r /src/requirements/build.txt
WORKDIR /src
COPY pyproject.toml README.md ./
COPY src src
COPY migrations migrations
RUN /opt/build/bin/python -m hatchling build -t wheel \
 && /opt/dispatcher/bin/pip install --no-deps --no-index dist/*.whl

FROM python:3.12-slim-bookworm
RUN useradd --system --create-home --home-dir /var/lib/dispatcher dispatcher
COPY --from=build /opt/dispatcher /opt/dispatcher
COPY configs /etc/dispatcher
ENV PATH=/opt/dispatcher/bin:$PATH PYTHONUNBUFFERED=1 \
    APP_HOST=0.0.0.0 APP_PORT=8080 APP_ENV=production \
    APP_DATA_DIR=/var/lib/dispatcher/data APP_DYNAMIC_CONFIG=/etc/dispatcher/dynamic_config.yaml
USER dispatcher
WORKDIR /var/lib/dispatcher
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/health', timeout=2)"]
ENTRYPOINT ["dispatcher"]
CMD ["serve"]
