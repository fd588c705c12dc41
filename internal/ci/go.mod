// Not published: CI and releases run it from a clone.
module github.com/meshpass/meshpass/internal/ci

go 1.25.0

require golang.org/x/mod v0.38.0
