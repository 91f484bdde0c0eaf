# syntax=docker/dockerfile:1
# An image with one static program, no shell and no root.
#
#   docker build -t authmesh .
#   docker run --rm -p 127.0.0.1:8400:8400 -v ./authmesh.toml:/etc/authmesh/authmesh.toml:ro authmesh
#
# with `listen = "0.0.0.0:8400"` under [server], since the container's loopback is its own.
#
# Pin both images by digest where you build for production.

FROM docker.io/library/rust:1.90-bookworm AS build
# A C compiler is all that aws-lc needs, and the image has one.
WORKDIR /src
COPY . .
ARG TARGETARCH
# Static against glibc (docs/decisions/0021): `--target` keeps the flag away from build scripts, which must be dynamic.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,id=authmesh-${TARGETARCH} \
    set -eu; \
    host="$(rustc -vV | sed -n 's/^host: //p')"; \
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --package authmesh-server --target "$host"; \
    install -D --strip "target/$host/release/authmesh" /out/usr/local/bin/authmesh; \
    # A static program has no interpreter: whoever breaks that finds out here, and not in the empty image.
    if readelf --program-headers /out/usr/local/bin/authmesh | grep -q INTERP; then echo "the program is not static"; exit 1; fi; \
    /out/usr/local/bin/authmesh --version; \
    mkdir -p /out/var/lib/authmesh /out/etc/authmesh

# Certificate authorities, time zones, a user without rights, and nothing else.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build --chown=65532:65532 /out/var/lib/authmesh /var/lib/authmesh
COPY --from=build /out/usr/local/bin/authmesh /usr/local/bin/authmesh
USER 65532:65532
# No AUTHMESH_... variables here: they would win over the configuration of whoever runs it.
EXPOSE 8400
# SIGTERM: open requests end, then the node leaves its cluster.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/authmesh"]
CMD ["serve", "--config", "/etc/authmesh/authmesh.toml"]
