# torcxd in a container. Build it for every supported architecture with `make image`.
#
# The keys that may sign addon manifests belong to whoever publishes them: put them into /pubring.gpg, by a layer
#     FROM torcxd:0.1.0
#     COPY pubring.gpg /pubring.gpg
# or by one more mount (-v /etc/torcxd/pubring.gpg:/pubring.gpg:ro), or name another file with --keyring.
# /versions.yaml, the runtime mappings, can be replaced in the same ways.

# One base for both stages; a dated tag, so that a rebuild starts from the same system.
ARG BASE=docker.io/library/debian:bookworm-20250520-slim

FROM ${BASE} AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# The dependencies first: they change rarely. Build tools and dependencies alike are the locked ones; the tools are in a
# virtual environment of their own and never reach the image.
COPY requirements-build.lock requirements.lock ./
RUN python3 -m venv tools \
    && tools/bin/pip install --no-cache-dir --require-hashes --requirement requirements-build.lock \
    && tools/bin/pip wheel --no-cache-dir --require-hashes --no-build-isolation --wheel-dir wheels \
        --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY torcxd torcxd
COPY states states
COPY systemd systemd
RUN tools/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir wheels . \
    && python3 -m venv --without-pip /opt/torcxd \
    && tools/bin/pip --python /opt/torcxd/bin/python install --no-cache-dir --no-index --find-links wheels torcxd

FROM ${BASE}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates gpg python3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/torcxd /opt/torcxd
# The original's names and places.
RUN ln -s /opt/torcxd/bin/tectonic-torcx-bootstrap /tectonic-torcx-bootstrap \
    && ln -s /opt/torcxd/bin/tectonic-torcx-hook-pre /tectonic-torcx-hook-pre \
    && ln -s /opt/torcxd/bin/torcxd /usr/bin/torcxd \
    && ln -s /opt/torcxd/lib/python3.*/site-packages/torcxd/versions.yaml /versions.yaml
# Where the host's bundle is mounted. Debian's OpenSSL would look for single certificates.
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
ENTRYPOINT ["/tectonic-torcx-bootstrap"]
