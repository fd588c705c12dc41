// Not published: it is run in a clone.
module github.com/meshpass/meshpass/histories

go 1.25.0

replace (
	github.com/meshpass/meshpass => ..
	github.com/meshpass/meshpass/keystore/etcd => ../keystore/etcd
	github.com/meshpass/meshpass/keystore/kubernetes => ../keystore/kubernetes
	github.com/meshpass/meshpass/keystore/postgres => ../keystore/postgres
)

require (
	github.com/anishathalye/porcupine v1.3.1
	github.com/meshpass/meshpass v0.1.0
	github.com/stretchr/testify v1.12.1
	golang.org/x/sys v0.47.0
)

require (
	github.com/decred/dcrd/dcrec/secp256k1/v4 v4.4.1 // indirect
	github.com/goccy/go-json v0.10.6 // indirect
	github.com/lestrrat-go/blackmagic v1.0.4 // indirect
	github.com/lestrrat-go/httpcc v1.0.1 // indirect
	github.com/lestrrat-go/httprc v1.0.6 // indirect
	github.com/lestrrat-go/iter v1.0.2 // indirect
	github.com/lestrrat-go/jwx/v2 v2.1.7 // indirect
	github.com/lestrrat-go/option v1.0.1 // indirect
	github.com/segmentio/asm v1.2.1 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/crypto v0.54.0 // indirect
)
