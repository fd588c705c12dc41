// Package kubernetes keeps the records of a keystore.KeyStore as Secrets in a namespace
// of Kubernetes, in the form that Kuma and Kong Mesh use. A store on the namespace of
// such a control plane reads what the control plane writes, and the other way round.
// Any number of processes share the records, and learn of each other's changes within
// milliseconds.
//
// [Open] takes client-go's configuration:
//
//	config, err := rest.InClusterConfig()
//	store, err := kubernetes.Open(config, "kuma-system")
//	_, err = dataplane.EnsureKey(ctx, store, "default") // when the mesh is created
//	validator, err := dataplane.NewValidator(store)
//
// # Secrets
//
// A record is a Secret of the same name, with the bytes under "value":
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
// This Secret is a record of mesh "default". A Secret without the label, or with an empty
// one, belongs to mesh "default" too. A record of the global scope has the type
// system.kuma.io/global-secret and no such label. Secrets of other types are not records:
// the store does not show, change or delete them.
//
// You may make such Secrets by hand. A Secret without a "value" is an unreadable record: as
// an empty revocation list it would revoke nothing. So is a revocation list of another
// mesh than "default" that lacks the label: validators then know nothing about the mesh in
// its name (keystore.ErrScopeUnknown). Update replaces the value and leaves everything else in the Secret. A Secret that is marked as
// immutable can be deleted but not updated.
//
// # Names
//
// A Secret's name exists once in a namespace, so a record's name is in one scope only.
// Create returns keystore.ErrNameTaken if another scope has the name, or a Secret that is
// not a record. Kubernetes holds fewer names than other stores: Create returns
// keystore.ErrName for the others, such as those with capital letters. See [Store].
//
// # Reads
//
// Reads see every write that was acknowledged before they began; the API server's cache
// is never behind. A List of one scope is one request, and so shows one moment. With
// AllScopes it is two: one for all meshes and one for the global scope. For mesh "default"
// it is two requests at the same moment, since no selector also finds the Secrets without
// a label.
//
// # Writes with an unknown outcome
//
// If the connection is lost before the answer, a write returns an error that is none of
// those of package keystore. The write may have happened. The store does not repeat it:
// read the record, and decide.
//
// # Watches
//
// A watch is two requests, one for each type of Secret. The API server ends them after
// 30 s, and the watch then continues where they ended. If it cannot continue, or the
// connection is lost, the watch ends, and keystore.Follow starts the next one. If the
// label that names the mesh is changed, the watch announces both meshes. To know where a
// Secret was before, it lists all records once when it begins, and remembers their names
// and meshes, about 150 bytes each.
//
// A store of Open finds a connection that died silently by HTTP/2 pings, after at most
// 15 s. The reads of a validator fail until then. With a client of your own, given to
// [New], it takes 45 s, unless the environment variables HTTP2_READ_IDLE_TIMEOUT_SECONDS
// (30) and HTTP2_PING_TIMEOUT_SECONDS (15), which client-go reads when a client is made,
// change that.
//
// # Permissions
//
// The store needs get, list and watch of Secrets, and to write also create, update and
// delete. For a user without the latter, writes return keystore.ErrReadOnly; whatever else
// the API server refuses may pass, and is another error. The file
// rbac.yaml has both roles. RBAC cannot tell types of Secrets apart: a user with one of
// the roles can read all Secrets of the namespace. So use a namespace without other
// Secrets.
//
// Anyone who can read the Secrets, etcd's disks or their backups has the signing keys.
// Kubernetes can encrypt Secrets in etcd. Package keystore/sealed encrypts the records of
// any store.
package kubernetes
