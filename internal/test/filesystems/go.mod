// Not published: only tests are in it, so that the core does not depend on what they need.
module github.com/meshpass/meshpass/internal/test/filesystems

go 1.25.0

replace github.com/meshpass/meshpass => ../../..

require (
	github.com/hanwen/go-fuse/v2 v2.12.1
	github.com/meshpass/meshpass v0.1.0
	github.com/stretchr/testify v1.12.1
)

require (
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sys v0.46.0 // indirect
)
