# docker build --tag scvae-cli:0.1.0 .
# docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/work" scvae-cli:0.1.0 scvae train model=vsc
FROM python:3.12-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN ./containers/install.sh /src /opt/scvae

FROM python:3.12-slim-bookworm
# Nextflow measures tasks with ps.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends procps \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/scvae /opt/scvae
# Any user may run it, whom the image need not know: caches go below a home that all can write to.
ENV PATH=/opt/scvae/bin:$PATH HOME=/tmp
USER 1000
WORKDIR /work
CMD ["scvae", "--help"]
