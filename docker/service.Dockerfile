# The server and its default model. docker/build runs this with buildah, podman or docker:
#
#     make image                                                                  # CPU
#     make image TORCH_INDEX=https://download.pytorch.org/whl/cu130 EXTRAS=otel,s3 TAG=0.1.0-cuda

# Anything with Python 3.11, 3.12 or 3.13 as python3, and its venv module.
ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm

# Wheels that are taken before those of the index; docker/build puts a folder in place of this.
FROM scratch AS wheels

# hadolint ignore=DL3006
FROM ${BASE_IMAGE} AS build
# Where pip finds torch besides its usual index: this, or one of the CUDA builds beside it.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Besides what a server needs: openvino is of use on CPUs, s3 for models in a bucket, otel for traces.
ARG EXTRAS=openvino,otel,s3
WORKDIR /source
RUN python3 -m venv /opt/poselift
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY poselift poselift
COPY service service
# Secrets: pip's configuration and the certificates that it trusts, where they are not the usual ones.
RUN --mount=type=bind,from=wheels,target=/wheels --mount=type=secret,id=pip --mount=type=secret,id=certificates \
    if [ -s /run/secrets/pip ]; then export PIP_CONFIG_FILE=/run/secrets/pip; fi && \
    if [ -s /run/secrets/certificates ]; then export PIP_CERT=/run/secrets/certificates; fi && \
    /opt/poselift/bin/pip install --no-cache-dir --disable-pip-version-check --find-links /wheels \
        ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} ".[serve,${EXTRAS}]" && \
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
