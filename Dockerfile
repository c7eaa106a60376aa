# pgweir alone, run as a user without rights: docker build -t pgweir .
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src ./src
# Tests and benches stay outside the image; their manifest entries only need to name a file.
RUN mkdir -p tests benches \
    && echo 'fn main() {}' > tests/main.rs \
    && sed -n '/^\[\[bench\]\]/,/^$/s/^name = "\(.*\)"/\1/p' Cargo.toml \
       | while read -r bench; do echo 'fn main() {}' > "benches/$bench.rs"; done
RUN cargo build --release --locked --bin pgweir

FROM debian:bookworm-slim
# curl asks for /healthz; the certificates are for verified TLS to hosted databases.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin pgweir
COPY --from=build /src/target/release/pgweir /usr/local/bin/pgweir
USER pgweir
EXPOSE 6432 9632
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s --retries=5 \
    CMD ["curl", "--fail", "--silent", "--output", "/dev/null", "http://127.0.0.1:9632/healthz"]
ENTRYPOINT ["/usr/local/bin/pgweir"]
# Loopback, the default, would be the container's own. Another command (serve --config ...) says where it listens.
CMD ["serve", "--listen", "0.0.0.0:6432"]
