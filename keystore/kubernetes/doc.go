// Package kubernetes keeps the records of a keystore.KeyStore as Secrets in one
// namespace of Kubernetes, in the form in which Kuma and Kong Mesh keep theirs. A
// store on the namespace of such a control plane reads its keys and revocation
// lists, and it reads the store's. Any number of processes share the records, and
// learn of each other's changes within milliseconds.
//
// [New] takes client-go's client of the Secrets of a namespace:
//
//	config, err := rest.InClusterConfig()
//	config.QPS = -1 // or client-go itself holds back all but 5 requests a second
//	client, err := typedcorev1.NewForConfig(config) // k8s.io/client-go/kubernetes/typed/core/v1
//	store, err := kubernetes.New(client.Secrets("kuma-system"))
//	validator, err := dataplane.NewValidator(store)
//
// # Secrets
//
// A record is a Secret of the record's name, with the bytes under "value":
//
//	apiVersion: v1
//	kind: Secret
//	metadata:
//	  name: dataplane-token-revocations-default
//	  labels:
//	    kuma.io/mesh: default
//	type: system.kuma.io/secret
//	data:
//	  value: NTkyZTA1...
//
// That is one of a mesh. Without the label, or with an empty one, it belongs to mesh
// "default". A record of the global scope has the type system.kuma.io/global-secret
// and no such label. Secrets of other types are no records: the store does not show,
// change or delete them.
//
// Such Secrets may be made by hand. One without a "value" is an error wherever it is
// asked for: were it an empty revocation list, nothing would be revoked. An Update
// replaces the value and leaves all else that is in a Secret. A Secret that is marked
// as immutable can be deleted, but not updated.
//
// # Names
//
// A Secret's name exists once in a namespace, so it is in one scope only: Create
// returns keystore.ErrNameTaken if another scope has it, or a Secret that is no
// record. Kubernetes holds fewer names than other stores: Create returns
// keystore.ErrName for the others, such as those with capital letters. See [Store].
//
// # Reads
//
// Reads see every write that was acknowledged before they began, by anyone; the API
// server's cache is never behind. A List is one request, and so one moment: one for
// all meshes, one for the global scope, and two of the same moment for mesh
// "default", as no selector finds what has no label too.
//
// # Writes whose outcome is unknown
//
// A write that fails with an error other than the contract's own may have happened
// all the same, if the connection was lost before the answer came. The store does not
// try again: read, and decide.
//
// # Watches
//
// A watch is two requests, one for each type, which the API server ends after 30 s,
// and which then go on where they were. If that is not possible any more, or the
// connection is lost, the watch ends, and keystore.Follow starts the next one. Where
// somebody changes the label that names the mesh, both meshes are announced; to tell
// where a Secret was, a watch lists all records once when it begins and remembers
// their names and meshes, about 150 bytes each.
//
// A connection that died in silence is found by the HTTP/2 pings of client-go, after 45 s
// at most, and the reads of a validator fail until then. The environment variables
// HTTP2_READ_IDLE_TIMEOUT_SECONDS (30) and HTTP2_PING_TIMEOUT_SECONDS (15), which
// client-go reads when a client is made, change that: 10 and 5 make it 15 s.
//
// # Permissions
//
// The store needs get, list and watch of Secrets, and create, update and delete to
// write. A user without the latter has a store that is read-only: it answers writes with
// keystore.ErrReadOnly. The file rbac.yaml has both roles. RBAC cannot tell types of
// Secrets apart: whoever has the roles can read all Secrets of the namespace, so give
// the records a namespace in which there are no others.
//
// Whoever can read the Secrets, etcd's disks or their backups has the signing keys.
// Kubernetes can encrypt Secrets in etcd; the package keystore/sealed encrypts the
// records of any store.
package kubernetes
