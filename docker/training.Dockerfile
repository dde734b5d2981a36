# The training jobs and the `poselift` command. Built as service.Dockerfile is; `make image IMAGE=training` also tests it.

ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm

# hadolint ignore=DL3006
FROM ${BASE_IMAGE} AS build
# The index that torch comes from: this one, or that of a CUDA build beside it. Empty leaves the choice to pip.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG TORCH_VERSION=2.13.0
# Besides what training needs: s3 publishes to a bucket.
ARG EXTRAS=s3
WORKDIR /source
RUN python3 -m venv /opt/poselift
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY poselift poselift
COPY training training
# Where packages are not taken from PyPI: pip's configuration and certificates come as secrets, which are not kept.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=secret,id=certificates,target=/etc/ssl/certs/ca-certificates.crt \
    install() { /opt/poselift/bin/pip install --no-cache-dir --disable-pip-version-check "$@"; } && \
    if [ -n "$TORCH_INDEX" ]; then \
        install --no-deps --index-url "$TORCH_INDEX" --timeout 15 --retries 1 \
            "torch==$TORCH_VERSION+${TORCH_INDEX##*/}"; \
    fi && \
    install ".[training,${EXTRAS}]" && \
    chmod -R a+rX /opt/poselift

# hadolint ignore=DL3006
FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="Poselift training" \
      org.opencontainers.image.description="Pretraining and fine-tuning of pose lifters" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/poselift /opt/poselift
COPY LICENSE NOTICE /usr/share/doc/poselift/
# Checkpoints are written to runs/ in the folder that a job is started in: mount one there.
ENV PATH=/opt/poselift/bin:$PATH \
    HOME=/tmp \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /work
USER 10001:10001
CMD ["poselift", "--help"]
