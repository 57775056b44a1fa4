# syntax=docker/dockerfile:1

FROM golang:1.26-bookworm AS build
WORKDIR /src
# Dependencies first: they change less often than the code and stay in the layer cache.
COPY go.mod go.sum ./
RUN go mod download && go mod verify
COPY . .
ARG VERSION=dev COMMIT=unknown DATE=unknown
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false \
      -ldflags "-s -w -X main.version=${VERSION} -X main.commit=${COMMIT} -X main.date=${DATE}" \
      -o /out/velocity ./cmd/velocity

FROM scratch
LABEL org.opencontainers.image.title="Velocity" \
      org.opencontainers.image.description="Edge proxy and API gateway" \
      org.opencontainers.image.source="https://github.com/salgue441/velocity" \
      org.opencontainers.image.licenses="MIT"
# For TLS to upstreams and identity providers.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/velocity /velocity
COPY configs/gateway.yaml configs/routes.yaml /etc/velocity/
# By number, so that Kubernetes can see that it is not root.
USER 65532:65532
# The gateway, and the admin API, which listens on loopback unless the configuration says otherwise.
EXPOSE 8080 8081
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
  CMD ["/velocity", "healthcheck", "--config=/etc/velocity/gateway.yaml"]
ENTRYPOINT ["/velocity"]
CMD ["--config=/etc/velocity/gateway.yaml"]
