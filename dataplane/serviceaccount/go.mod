module github.com/meshpass/meshpass/dataplane/serviceaccount

go 1.25.0

replace github.com/meshpass/meshpass => ../../

require (
	github.com/meshpass/meshpass v0.0.0
	github.com/stretchr/testify v1.12.1
	k8s.io/api v0.35.10
	k8s.io/apimachinery v0.35.10
	k8s.io/client-go v0.35.10
)
