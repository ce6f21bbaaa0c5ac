# The label server. Build: docker build -t minivess-label .
# Run:   docker run --rm --network host --user "$(id -u)" -v STUDIES:/studies -v WORKSPACE:/workspace minivess-label
# The server listens on loopback, and --network host shares that; add --host 0.0.0.0 once there are accounts (minivess user add
# ... --workspace WORKSPACE). WORKSPACE keeps the trained model and the accounts. This file has been read but not built where it was written: no image registry was in reach there, which is
# also why the base image is pinned by its tag and not yet by its digest.
FROM python:3.11.7-slim-bookworm AS build
WORKDIR /src
COPY requirements/uv.txt requirements/label.txt requirements/
RUN python -m venv /uv && /uv/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/uv.txt
RUN /uv/bin/uv venv /venv && /uv/bin/uv pip sync --python /venv --require-hashes --compile-bytecode --no-cache requirements/label.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY bundles bundles
COPY monailabel_app monailabel_app
COPY maps maps
RUN /uv/bin/uv pip install --python /venv --no-deps --no-cache .

FROM python:3.11.7-slim-bookworm
RUN useradd --create-home --uid 1000 minivess && mkdir /studies /workspace && chown minivess /studies /workspace
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
USER minivess
WORKDIR /workspace
VOLUME /workspace
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=5)"]
ENTRYPOINT ["minivess", "serve", "/studies", "--workspace", "/workspace"]
