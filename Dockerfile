# What `make image` makes without a Docker daemon: the command, the libraries it needs, and nothing else.
#   docker build --tag portcullis.dev/portcullis:0.1.0 .
FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
RUN cargo build --release --locked --bin portcullis
# The loader says which libraries it would take; each keeps its path.
RUN set -eu; mkdir -p /image/etc /image/tmp; chmod 1777 /image/tmp; \
    cp target/release/portcullis /image/portcullis; \
    for library in $(ldd target/release/portcullis | grep -o '/[^ ]*'); do \
        mkdir -p "/image$(dirname "$library")"; cp -L "$library" "/image$library"; \
    done; \
    printf 'root:x:0:0:root:/:/\nnonroot:x:65532:65532:nonroot:/:/\n' > /image/etc/passwd; \
    printf 'root:x:0:\nnonroot:x:65532:\n' > /image/etc/group; \
    printf 'hosts: files dns\n' > /image/etc/nsswitch.conf

FROM scratch
COPY --from=build /image /
USER 65532:65532
WORKDIR /
ENV PATH=/
ENTRYPOINT ["/portcullis"]
