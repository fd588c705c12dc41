// Command meshpass makes, renews, inspects and revokes the tokens of a service mesh, and
// manages the keys that sign them. It moves keys and revocation lists from and to Kuma
// and Kong Mesh.
//
// It is reference code too: each command is a few lines around one function of
// packages dataplane, zone, signing or httpapi. Start with
//
//	meshpass --help
//
// # Stores and control planes
//
// The tool works on a store of keys and revocation lists (--store: a directory,
// PostgreSQL, etcd or Kubernetes) or on a control plane (--control-plane: the REST
// API of package httpapi). It also makes tokens offline, with a signing key in a
// file. The environment variables MESHPASS_STORE and MESHPASS_CONTROL_PLANE are the
// defaults of the flags. See "meshpass help stores" and "meshpass help
// control-planes".
//
// # Output and secrets
//
// A token or a key goes to standard output, bare, or with --output to a file of
// mode 0600. Lists and the reports of inspect, check and import go to standard output too.
// Everything else goes to standard error. With --verbose that includes audit
// events (see package audit), whose actor is the user of the operating system.
//
// A secret is never an argument or the value of a flag, since every user of a
// machine can see those. The tool reads secrets from files, from standard input
// and from the environment. It prints only the token or the key that it makes.
//
// # Exit status
//
//	0  done; inspect and check: no reason to refuse a token
//	1  failed
//	2  the command line is wrong
//	3  inspect and check: a token would be refused; renew: it was refused
package main
