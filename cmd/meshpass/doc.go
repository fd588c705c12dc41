// Command meshpass makes, inspects and revokes the tokens of a service mesh, and
// looks after the keys that sign them.
//
// It is also an example of the library: each command is a few lines around one
// function of packages dataplane, zone, signing or httpapi. Start with
//
//	meshpass --help
//
// # Where it works
//
// Keys and revocation lists are in a store (--store: a directory, PostgreSQL, etcd
// or Kubernetes) or behind a control plane (--control-plane: the REST API of
// package httpapi). Tokens can also be made offline, with a signing key in a file.
// The flags' defaults are the environment variables MESHPASS_STORE and
// MESHPASS_CONTROL_PLANE. "meshpass help stores" tells how stores are named, and
// "meshpass help control-planes" the same about control planes.
//
// # What goes where
//
// A token or a key goes to standard output, bare, or with --output to a file of
// mode 0600. Lists and the report of inspect go to standard output too.
// Everything else goes to standard error. With --verbose that includes the audit
// events of package audit, whose actor is the user of the operating system.
//
// A secret is never an argument or the value of a flag, since every user of a
// machine can see those: secrets are read from files, from standard input and
// from the environment. None is printed except the one that was asked for.
//
// # Exit status
//
//	0  done; for inspect: nothing speaks against the token
//	1  it could not be done
//	2  the command line is wrong
//	3  inspect: the token would be refused
package main
