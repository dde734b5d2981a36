# The server and its default model, built from the root of the checkout:
#
#     docker build -f docker/service.Dockerfile -t poselift/service:0.1.0 .
#     docker build -f docker/service.Dockerfile -t poselift/service:0.1.0-cuda . \
#         --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 --build-arg EXTRAS=otel,s3
#
# Likewise with podman and buildah, which need --format docker to keep the health check. `make image` also tests it.

# Anything with Python 3.11, 3.12 or 3.13 as python3, and its venv module. A tag may be moved; a digest behind it, as in
# BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm@sha256:..., pins what is built on (docs/security.md).
ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm

# hadolint ignore=DL3006
FROM ${BASE_IMAGE} AS build
# The index that torch comes from: this one, or that of a CUDA build beside it. Empty leaves the choice to pip.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG TORCH_VERSION=2.13.0
# Besides what a server needs: openvino is of use on CPUs, s3 for models in a bucket, otel for traces.
ARG EXTRAS=openvino,otel,s3
WORKDIR /source
RUN python3 -m venv /opt/poselift
# Only what is copied here gets into the wheel that pip builds: no training code, and the models go to /models.
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY poselift poselift
# With the detector for webcams, if `make web` has fetched it.
COPY service service
# Where packages are not taken from PyPI: pip's configuration and certificates come as secrets, which are not kept.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=secret,id=certificates,target=/etc/ssl/certs/ca-certificates.crt \
    install() { /opt/poselift/bin/pip install --no-cache-dir --disable-pip-version-check "$@"; } && \
    if [ -n "$TORCH_INDEX" ]; then \
        install --no-deps --index-url "$TORCH_INDEX" --timeout 15 --retries 1 \
            "torch==$TORCH_VERSION+${TORCH_INDEX##*/}"; \
    fi && \
    install ".[serve,${EXTRAS}]" && \
    /opt/poselift/bin/pip uninstall --yes --quiet pip && \
    chmod -R a+rX /opt/poselift

# hadolint ignore=DL3006
FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="Poselift" \
      org.opencontainers.image.description="2D-to-3D human pose lifting as a service" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/poselift /opt/poselift
COPY LICENSE NOTICE /usr/share/doc/poselift/
COPY models /models
COPY docker/healthcheck.py /opt/poselift/healthcheck.py
# Nothing is written but to /tmp: the root file system may be read-only.
ENV PATH=/opt/poselift/bin:$PATH \
    HOME=/tmp \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    POSELIFT_HOST=0.0.0.0 \
    POSELIFT_MODELS=/models
WORKDIR /tmp
USER 10001:10001
EXPOSE 8000 8001 8002
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=5m CMD ["python", "/opt/poselift/healthcheck.py"]
# As the first process, without a shell between it and its signals.
CMD ["python", "-m", "poselift_service"]
