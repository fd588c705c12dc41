// Command benchmarks runs the control plane of a mesh and its proxies on this machine, with
// several servers side by side, and measures two events:
//
//   - compromise: a signing key is compromised, and the operator removes it, or revokes what
//     was issued before a moment. How long do streams stay open whose tokens are no longer good?
//   - storm: all proxies reconnect, to control planes that have just started (cold), and once
//     more (warm). How much of it is authentication?
//
// The servers are replicas of an ADS server (go-control-plane) over TLS. Each is a process of
// its own, so that its processor time is its own. The proxies and the operator are in this
// process. It prints a table. With -write FOLDER it also puts the table into performance.md in
// that folder, draws compromise.svg beside it, and writes the figures as benchmarks.json.
//
//	go run ./benchmarks -proxies 10000 -write docs
//
// etcd and kube-apiserver are those that keystore/kubernetes/testenv/build builds, PostgreSQL
// is that of the system. What is not installed is left out, and the command says so.
package main
